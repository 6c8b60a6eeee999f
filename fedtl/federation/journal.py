"""Where a federation writes down what happens in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fedtl.federation.checkpoint import Checkpoint
from fedtl.privacy.egress import LedgerEntry

Row = dict[str, Any]


class Journal(Protocol):
    """Where a run is written down as it goes."""

    def enter_egress(self, entries: Sequence[LedgerEntry]) -> None:
        """Append lines to the ledger."""
        ...

    def enter_round(self, row: Row, rounds: int) -> None:
        """Append one round's line; ``rounds`` is how many there will be."""
        ...

    def keep(self, checkpoint: Checkpoint) -> None:
        """Make a round's state safe."""
        ...

    def warn(self, text: str) -> None:
        """Tell the user, and the report, of something that went wrong and was survived."""
        ...

    def waits(self, text: str) -> None:
        """Tell the user what is being waited for."""
        ...
