"""How many real sites must take part: one hospital alone is not a federation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from flwr.serverapp import Grid

from fedtl.config import RunConfig
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.exchange import Phase
from fedtl.federation.handshake import Roll

_FEWEST = 2
_POLL_SECONDS = 0.5
_LISTED = 20


@dataclass(frozen=True)
class Quorum:
    """The fewest sites of a run.

    Attributes:
        fewest: As configured; 0 is half of the sites that are asked, but at least two.
        patience: Seconds that a round waits for them to be connected.
        rule: What ``fewest`` is, if no key says it.
    """

    fewest: int
    patience: float
    rule: str = ""

    @classmethod
    def of(cls, config: RunConfig) -> Quorum:
        """Return what a run of real sites asks for.

        Raises:
            UsageError: There can never be so many, or it is not a federation.
        """
        if config.min_sites == 1 or config.clients < _FEWEST:
            said = "min-sites" if config.min_sites == 1 else "clients"
            raise UsageError(
                f"{said} = 1, but at least {_FEWEST} real sites are needed: the head of a single "
                f"site would be made of its data only; set {said} = {_FEWEST} or more."
            )
        if config.min_sites > config.clients:
            raise UsageError(
                f"min-sites = {config.min_sites} is more than clients = {config.clients}; lower "
                "min-sites, or set clients to the number of sites."
            )
        return cls(config.min_sites, config.client_timeout)

    def needed(self, asked: int) -> int:
        """Return how many of the sites that are asked must answer."""
        return self.fewest or max(_FEWEST, (asked + 1) // 2)

    def admit(self, roll: Roll, clients: int) -> None:
        """Check that enough sites may take part.

        Raises:
            FedtlError: They are too few.
        """
        reasons = [failure.reason for failure in roll.refused]
        self._hold(len(roll.partitions), clients, "can take part", reasons)

    def gather(self, grid: Grid, nodes: Collection[int], waits: Callable[[str], None]) -> None:
        """Wait until enough of the sites that take part are connected.

        Args:
            grid: Knows who is connected.
            nodes: Node ids of the sites that take part.
            waits: Called whenever the number of connected sites changes and more are needed.

        Raises:
            FedtlError: They are still too few when patience ends.
        """
        deadline, told = time.monotonic() + self.patience, -1
        while True:
            here = len(set(grid.get_node_ids()).intersection(nodes))
            if here >= min(self.needed(len(nodes)), len(nodes)):
                return
            if here != told:
                told = here
                waits(f"waiting for sites: {here:,} of {len(nodes):,} are connected")
            if time.monotonic() > deadline:
                done = f"connected after {self.patience:.0f} s"
                self._hold(here, len(nodes), done, [])
            time.sleep(_POLL_SECONDS)

    def check(self, phase: Phase) -> None:
        """Check that enough sites answered.

        Raises:
            FedtlError: They are too few.
        """
        answered = len(phase.clients) - len(phase.failures)
        reasons = [failure.reason for failure in phase.failures]
        self._hold(answered, len(phase.clients), "answered", reasons)

    @property
    def closing(self) -> Quorum:
        """The quorum of the closing evaluation, in which nothing is learnt: two sites.

        Every round had enough sites, so the head stands; but scores of a single site would be
        mistaken for those of a federation.
        """
        return replace(self, fewest=_FEWEST, rule="at least two for the scores of a federation")

    def short_of(self, phase: Phase) -> str:
        """Return a sentence if fewer sites scored the final head than a round needs; else nothing.

        Args:
            phase: The closing.
        """
        missing = [failure.client for failure in phase.failures]
        here, needed = len(phase.clients) - len(missing), self.needed(len(phase.clients))
        if needed <= here:
            return ""
        listed = ", ".join(map(str, missing[:_LISTED])) + (" …" if missing[_LISTED:] else "")
        return (
            f"Only {here} of {len(phase.clients)} sites scored the final head, but a round needs "
            f"{needed}; every round had enough, so the head stands, but there are no scores of "
            f"client {listed}."
        )

    def _hold(self, here: int, asked: int, what: str, reasons: list[str]) -> None:
        needed = self.needed(asked)
        if here >= needed:
            return
        rule = f"min-sites = {self.fewest}" if self.fewest else "half of them, and at least 2"
        rule = self.rule or rule
        why = f" ({'; '.join(reasons[:3])})" if reasons else ""
        raise FedtlError(
            f"Only {here} of {asked} sites {what}, and {needed} are needed ({rule}){why}; connect "
            "the others and start again."
        )
