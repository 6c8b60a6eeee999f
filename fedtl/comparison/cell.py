"""One run of a comparison, in one process: the same federation as a simulation's, without a folder.

All clients are answered inline; that a simulation with Ray actors gives the same bytes is the
engine's contract.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fedtl.comparison.result import CellResult, ClientScore, RoundPoint
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.alone import TrainAlone, TrainAloneOnce
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import ClientTallies, scored_on, summarise
from fedtl.federation.reference import TestScore, centralised_scores
from fedtl.federation.server import Federation, Outcome, Row
from fedtl.federation.simulated_sites import SimulatedSites
from fedtl.privacy.egress import LedgerEntry
from fedtl.transfer.head_file import TrainedHead


@dataclass(frozen=True)
class Scene:
    """What all runs over the same clients look at.

    Attributes:
        sites: The clients.
        train_alone: Remembers the heads of clients alone, and of all data in one place.
    """

    sites: SimulatedSites
    train_alone: TrainAloneOnce


@dataclass(frozen=True)
class MakeScene:
    """Makes a :class:`Scene` in the process that needs it."""

    sites: SimulatedSites

    def __call__(self) -> Scene:
        """Return it."""
        return Scene(self.sites, TrainAloneOnce())


@dataclass
class _Memory:
    """A journal that only remembers what a comparison shows."""

    rows: list[Row] = field(default_factory=list)
    bytes_before: int = 0

    def enter_egress(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what was sent before the first round."""
        self.bytes_before += sum(entry.bytes for entry in entries if entry.server_round == 0)

    def enter_round(self, row: Row, rounds: int) -> None:
        """Keep the round's facts."""
        self.rows.append(row)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep nothing: a run that is cut off takes seconds to do again."""

    def warn(self, text: str) -> None:
        """Tell nobody: failures are counted in the outcome."""


@dataclass(frozen=True)
class RunCell:
    """The work of one cell."""

    config: RunConfig

    def __call__(self, scene: Scene) -> CellResult:
        """Run the federation and what it is held against.

        Raises:
            FedtlError: See :class:`Federation`.
        """
        config = self.config.replace(clients=len(scene.sites.train))
        outcome, journal = federate(config, scene.sites, scene.train_alone)
        clients = [scene.sites.site(client).data for client in range(config.clients)]
        centralised = centralised_scores(outcome.strategy, clients, scene.train_alone)
        identity = outcome.roll.identity
        head = TrainedHead(
            outcome.arrays, outcome.standardisation, identity.classes, identity.fingerprint
        )
        ways = {
            "federated": outcome.federated,
            "local_only": outcome.local_only,
            "centralised": centralised,
        }
        if outcome.personal is not None:
            ways["personal"] = outcome.personal
        scores = {way: _scores(tallies) for way, tallies in ways.items()}
        return CellResult(
            config=self.config.to_mapping(),
            scores=scores,
            scored_on=scored_on(
                outcome.federated,
                config.holdout_site,
                test_is_held_out=scene.sites.test_is_held_out,
            ),
            rounds=_points(
                journal, scores["federated"]["accuracy"], tested=bool(len(scene.sites.test))
            ),
            clients=_clients(outcome, centralised),
            failures=len(outcome.failures),
            bytes_up=outcome.bytes_up,
            bytes_down=outcome.bytes_down,
            seconds=math.fsum(outcome.seconds),
            head_sha256=head.sha256(),
        )


def federate(
    config: RunConfig, sites: SimulatedSites, train_alone: TrainAlone
) -> tuple[Outcome, _Memory]:
    """Run a federation of these sites in this process."""
    app = FedtlClients(config, sites, train_alone)
    journal = _Memory()
    federation = Federation(
        InlineGrid(config.clients, app, config.to_mapping(), block=app.block),
        config,
        journal,
        expected=sites.identity,
        score_test=TestScore(config, sites) if len(sites.test) else None,
    )
    return federation.run(), journal


def _scores(tallies: Mapping[int, ClientTallies]) -> dict[str, float | None]:
    summary = asdict(summarise(list(tallies.values())))
    return {name: None if math.isnan(value) else value for name, value in summary.items()}


def _points(journal: _Memory, final: float | None, *, tested: bool) -> list[RoundPoint]:
    """Return the state after every round; ``final`` is the accuracy after the last.

    Without a global head there is nothing to score on a test split until the end.
    """
    points, sent = [], journal.bytes_before
    for row in journal.rows:
        sent += row["bytes_up"] + row["bytes_down"]
        accuracy = row["test_accuracy" if tested else "accuracy"]
        points.append(RoundPoint(row["round"], accuracy, sent))
    return [*points[:-1], dataclasses.replace(points[-1], accuracy=final)]


def _clients(outcome: Outcome, centralised: Mapping[int, ClientTallies]) -> list[ClientScore]:
    def own(tallies: Mapping[int, ClientTallies], client: int) -> float | None:
        if client not in tallies or not tallies[client].held_out.total:
            return None
        return tallies[client].held_out.accuracy

    return [
        ClientScore(
            examples=card.examples,
            local_only=own(outcome.local_only, client),
            used=own(outcome.personal or outcome.federated, client),
            centralised=own(centralised, client),
        )
        for client, card in sorted(outcome.roll.cards.items())
    ]
