"""All observers of a run as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from fedtl.errors import FedtlError
from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.round_row import Round
from fedtl.observers.observer import Began, Observer
from fedtl.privacy.egress import LedgerEntry
from fedtl.unforeseen import let_through

if TYPE_CHECKING:
    from fedtl.results.result import RunResult


class Observers:
    """Tells every observer, in their order; a federation's journal.

    Args:
        observers: The observers.
        caught: Whether an exception of an observer that is not vital ends only that observer.

    Attributes:
        stopped: Whether an observer has asked that no further round begins.
    """

    def __init__(self, observers: Iterable[Observer], *, caught: bool = True) -> None:
        self._observers, self._caught = list(observers), caught
        self.stopped = False

    def add(self, observer: Observer) -> None:
        """Add an observer."""
        self._observers.append(observer)

    def began(self, run: Began) -> None:
        """See :class:`Observer`, as for all methods here."""
        self._asked(lambda one: one.began(run))

    def features(self, done: int, total: int) -> None:
        """Pass it on."""
        self._tell(lambda one: one.features(done, total))

    def phase(self, text: str) -> None:
        """Pass it on."""
        self._tell(lambda one: one.phase(text))

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Pass them on."""
        self._tell(lambda one: one.sent(entries))

    def round(self, finished: Round, rounds: int) -> None:
        """Pass it on, and note who asks to stop."""
        self._asked(lambda one: one.round(finished, rounds))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Pass it on."""
        self._tell(lambda one: one.checkpoint(checkpoint))

    def noted(self, text: str) -> None:
        """Pass it on."""
        self._tell(lambda one: one.noted(text))

    def warned(self, text: str) -> None:
        """Pass it on."""
        self._tell(lambda one: one.warned(text))

    def faulted(self, server_round: int, client: int, fault: Fault) -> None:
        """Pass on an exception that cost a client's contribution."""
        self.fault(f"Round {server_round}, client {client}", fault)

    def fault(self, where: str, fault: Fault) -> None:
        """Pass on an exception that arose elsewhere, as in a repetition of the run."""
        told: list[str] = []

        def hear(one: Observer) -> None:
            if sentence := one.faulted(where, fault):
                told.append(sentence)

        self._tell(hear)
        for sentence in told:
            self.warned(sentence)

    def ended(self, result: RunResult) -> None:
        """Pass it on."""
        self._tell(lambda one: one.ended(result))

    def _asked(self, ask: Callable[[Observer], str | None]) -> None:
        reasons: list[str] = []

        def hear(one: Observer) -> None:
            if reason := ask(one):
                reasons.append(reason)

        self._tell(hear)
        for reason in reasons:
            self.stopped = True
            self.warned(reason)

    def _tell(self, tell: Callable[[Observer], object]) -> None:
        for one in list(self._observers):
            try:
                tell(one)
            except Exception as error:
                if one.vital:
                    raise
                if not self._caught:
                    let_through(error)
                    raise
                # First of all out of the list: what is told of it is not told to it.
                self._observers.remove(one)
                name = type(one).__name__
                if isinstance(error, FedtlError):
                    self.warned(f"{name} no longer watches the run: {error}")
                else:
                    self.fault(f"{name} no longer watches the run", Fault.of(error))
