"""What a federation reports while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.round_row import Round
from fedtl.privacy.egress import LedgerEntry


class Journal(Protocol):
    """What a federation reports: see :class:`fedtl.observers.observer.Observer`."""

    @property
    def stopped(self) -> bool:
        """Whether an observer has asked to stop after this round."""
        ...

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Receive what crossed the sites' borders."""
        ...

    def round(self, finished: Round, rounds: int) -> object:
        """Receive a round whose head is scored; ``rounds`` is the largest number of rounds."""
        ...

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save a round's state."""
        ...

    def warned(self, text: str) -> None:
        """Receive a warning about something that did not end the run, in a sentence."""
        ...

    def faulted(self, server_round: int, client: int, fault: Fault) -> None:
        """Receive an unexpected exception that cost one client's contribution."""
        ...

    def phase(self, text: str) -> None:
        """Receive what is being done or awaited, in a few words."""
        ...
