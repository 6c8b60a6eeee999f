"""What a federation tells of itself as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.round_row import Round
from fedtl.privacy.egress import LedgerEntry


class Journal(Protocol):
    """What a federation tells of itself: see :class:`fedtl.observers.observer.Observer`."""

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked that no further round begins."""
        ...

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Hear of what crossed the sites' borders."""
        ...

    def round(self, finished: Round, rounds: int) -> object:
        """Hear of a round whose head is scored; ``rounds`` is how many there will be at most."""
        ...

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make a round's state safe."""
        ...

    def warned(self, text: str) -> None:
        """Hear of something that went wrong and was survived, in a sentence."""
        ...

    def faulted(self, server_round: int, client: int, fault: Fault) -> None:
        """Hear of an exception that nobody foresaw, which cost one client's contribution."""
        ...

    def phase(self, text: str) -> None:
        """Hear what is being done or awaited, in a few words."""
        ...
