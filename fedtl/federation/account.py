"""What a run has cost so far, who failed in it, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.data.class_names import named
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.exchange import Failure, Phase
from fedtl.federation.handshake import Roll
from fedtl.federation.journal import Journal
from fedtl.federation.totals import STANDS_OUT, dominating, largest_named, standing_out


class Account:
    """The account of one run.

    Args:
        journal: Receives what happens.

    Attributes:
        bytes_up: Bytes from the sites.
        bytes_down: Bytes to them.
        seconds: Of every round.
        failures: ``(round, client, reason)``; round 0 is the handshake.
        sizes: How large each client's contribution to the phase under way is, by partition id.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.bytes_up = self.bytes_down = 0
        self.seconds: list[float] = []
        self.failures: list[tuple[int, int, str]] = []
        self.sizes: dict[int, float] = {}
        self._told: set[int] = set()

    def admit(self, roll: Roll) -> None:
        """Enter the handshake."""
        self._journal.sent(roll.entries)
        self.bytes_up, self.bytes_down = roll.bytes_up, roll.bytes_down
        self._note_failures(0, roll.refused)
        for client, card in roll.cards.items():
            if card.classes_left_out:
                self._journal.warned(
                    f"Client {client} does not train on {card.classes_left_out} of its classes: it "
                    "has fewer examples of each than min-examples-per-class at that client."
                )
        classes = zip(roll.identity.classes, roll.class_counts, strict=True)
        if unknown := [name for name, count in classes if not count]:
            self._journal.warned(
                f"Of the {len(roll.identity.classes):,} classes, no client has an example of "
                f"{named(unknown)}, so it is not learnt."
            )
        if told := dominating(roll.cards):
            self._journal.warned(told)

    def recall(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint's account."""
        self.bytes_up, self.bytes_down = checkpoint.bytes_up, checkpoint.bytes_down
        self.seconds = list(checkpoint.seconds)
        self.failures = list(checkpoint.failures)

    def settle(self, phase: Phase, server_round: int) -> None:
        """Enter a finished phase: its ledger, bytes, failures and unusually large contributions."""
        self._enter(phase)
        self._note_failures(server_round, phase.failures)
        for client, times in standing_out(self.sizes, STANDS_OUT).items():
            if client not in self._told:
                self._told.add(client)
                self._journal.warned(
                    f"Round {server_round}, client {client}: its numbers are {times:.3g} times the "
                    "median of all clients', so the result is nearly that client's own; check its "
                    "data, or the client itself."
                )
        self.sizes.clear()

    def drop(self, phase: Phase) -> None:
        """Enter a phase that is repeated: its bytes have crossed the border all the same."""
        self._enter(phase)
        self.sizes.clear()

    def take_back(self, server_round: int, fault: str) -> None:
        """Warn that a round's total is not kept, and whose contributions were the largest."""
        largest = largest_named(self.sizes)
        self._journal.warned(f"Round {server_round} is taken back: {fault}{largest}.")

    def _enter(self, phase: Phase) -> None:
        self._journal.sent(phase.entries)
        self.bytes_up += phase.bytes_up
        self.bytes_down += phase.bytes_down

    def _note_failures(self, server_round: int, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self.failures.append((server_round, failure.client, failure.reason))
            if not failure.intended and not failure.entered:
                text = f"Round {server_round}, client {failure.client}: {failure.reason}"
                self._journal.warned(text)
