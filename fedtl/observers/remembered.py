"""What a run reported, kept for its result."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.federation.round_row import Round
from fedtl.observers.observer import Observer
from fedtl.privacy.egress import LedgerEntry
from fedtl.results.detail import EgressTotal


class Remembered(Observer):
    """Remembers rounds, warnings and how much crossed the sites' borders.

    Attributes:
        rounds: All scored rounds.
        warnings: Warnings, one sentence each.
        bytes_before: Bytes that crossed the borders before the first round.
    """

    vital = True

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.warnings: list[str] = []
        self.bytes_before = 0
        self._egress: dict[tuple[str, str, str], tuple[int, int]] = {}

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what crossed."""
        for entry in entries:
            self.count(entry.direction, entry.record, entry.shape, entry.bytes)
            self.bytes_before += entry.bytes if entry.server_round == 0 else 0

    def round(self, finished: Round, rounds: int) -> None:
        """Keep the round."""
        self.rounds.append(finished)

    def warned(self, text: str) -> None:
        """Keep the sentence."""
        self.warnings.append(text)

    def count(self, direction: str, record: str, shape: str, size: int) -> None:
        """Count one record in one message."""
        messages, before = self._egress.get((direction, record, shape), (0, 0))
        self._egress[direction, record, shape] = (messages + 1, before + size)

    def egress_totals(self) -> list[EgressTotal]:
        """Return what crossed the sites' borders, summed over clients and rounds, largest first."""
        totals = [
            EgressTotal("up" if way == "up" else "down", record, shape, messages, size)
            for (way, record, shape), (messages, size) in self._egress.items()
        ]
        return sorted(totals, key=lambda total: (total.direction != "up", -total.bytes))
