"""Where a federation writes down what happens in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fedtl.fault import Fault
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

    def enter_fault(self, server_round: int, client: int, fault: Fault) -> None:
        """Write down an exception that nobody foresaw, which cost one client's contribution."""
        ...

    def waits(self, text: str) -> None:
        """Tell the user what is being waited for."""
        ...
