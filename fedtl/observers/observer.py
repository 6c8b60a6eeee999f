"""What watches a run: its folder, its progress, early stopping, trackers, or a user's class.

    class Loud(Observer):
        def round(self, finished: Round, rounds: int) -> None:
            print(f"round {finished.round} of {rounds}: {finished.accuracy}")

An observer sees results and changes none; it can only ask that no further round begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fedtl.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fedtl.config import RunConfig
    from fedtl.fault import Fault
    from fedtl.federation.checkpoint import Checkpoint
    from fedtl.federation.round_row import Round
    from fedtl.privacy.egress import LedgerEntry
    from fedtl.results.result import RunResult


@dataclass(frozen=True)
class Began:
    """A run that is about to begin or continue its rounds.

    Attributes:
        config: The run's, ``clients`` as many as there are.
        folder: Its folder; ``None`` for a run without one.
        rounds: The rounds before ``--resume``.
    """

    config: RunConfig
    folder: Path | None
    rounds: Sequence[Round] = ()


class Observer:
    """Watches a run; each method does nothing here, and a subclass overrides those that it needs.

    Data is opened and features are extracted before :meth:`began`; :meth:`ended` is the last call
    of a finished run; a run that fails does not make it. All calls come from one thread.

    Args:
        config: The run's.

    Attributes:
        config: The run's.
        vital: Whether the run ends with an exception of this observer. Otherwise only the observer
            ends: the user is told, and it is not called again.
    """

    options = Options()
    vital: ClassVar[bool] = False

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def began(self, run: Began) -> str | None:
        """The clients have their data; returns what :meth:`round` returns."""

    def features(self, done: int, total: int) -> None:
        """So many of all inputs have their features; the first call counts cached ones."""

    def phase(self, text: str) -> None:
        """What is being done or awaited, in a few words."""

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Records crossed the sites' borders; called as they come."""

    def round(self, finished: Round, rounds: int) -> str | None:
        """A round's head is scored, which happens while the next one runs.

        Args:
            finished: The round.
            rounds: The largest number of rounds.

        Returns:
            Why no further round is to begin, in a sentence; nothing to go on. The round that runs
            is finished.
        """

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """A round's state, from which the run could go on."""

    def noted(self, text: str) -> None:
        """A note for the user, in a sentence."""

    def warned(self, text: str) -> None:
        """A warning about something that did not end the run, in a sentence."""

    def faulted(self, where: str, fault: Fault) -> str | None:
        """An unexpected exception that did not end the run.

        Args:
            where: The round and the client, or whose it was.
            fault: What was raised, with its traceback.

        Returns:
            A warning for all observers, in a sentence; ``None`` for no warning.
        """

    def ended(self, result: RunResult) -> None:
        """The run is finished."""
