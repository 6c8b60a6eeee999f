"""What watches a run: its folder, its progress, early stopping, trackers, or a class of a user's.

    class Loud(Observer):
        def round(self, finished: Round, rounds: int) -> None:
            print(f"round {finished.round} of {rounds}: {finished.accuracy}")

An observer sees results and changes none, but that it may ask for no further round.
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
    """A run that is about to begin its rounds, or to go on with them.

    Attributes:
        config: The run's, ``clients`` as many as there are.
        folder: Its folder; ``None`` for a run without one.
        rounds: The rounds that it has done already, those before ``--resume``.
    """

    config: RunConfig
    folder: Path | None
    rounds: Sequence[Round] = ()


class Observer:
    """Watches a run; each method does nothing here, and a subclass has those that it needs.

    Data is opened and features are extracted before :meth:`began`; :meth:`ended` is the last call
    of a run that comes to its end, and one that fails has none. All calls come from one thread.

    Args:
        config: The run's.

    Attributes:
        config: The run's.
        vital: Whether the run ends with an exception of this observer. Otherwise it costs the
            observer alone, which the user is told, and which hears nothing more.
    """

    options = Options()
    vital: ClassVar[bool] = False

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def began(self, run: Began) -> str | None:
        """Hear that the clients have their data; returns what :meth:`round` returns."""

    def features(self, done: int, total: int) -> None:
        """Hear how many of all inputs have their features; the first call counts cached ones."""

    def phase(self, text: str) -> None:
        """Hear what is being done or awaited, in a few words."""

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Hear of records that crossed the sites' borders, as they come."""

    def round(self, finished: Round, rounds: int) -> str | None:
        """Hear of a round whose head is scored, which is while the next one runs.

        Args:
            finished: The round.
            rounds: How many there will be at most.

        Returns:
            Why no further round is to begin, in a sentence; nothing to go on. The round that runs
            is finished.
        """

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Hear of a round's state, from which the run could go on."""

    def noted(self, text: str) -> None:
        """Hear something worth knowing, in a sentence."""

    def warned(self, text: str) -> None:
        """Hear of something that went wrong and was survived, in a sentence."""

    def faulted(self, where: str, fault: Fault) -> str | None:
        """Hear of an exception that nobody foresaw and that was survived.

        Args:
            where: The round and the client, or whose it was.
            fault: What was raised, with its traceback.

        Returns:
            What all are then warned of, in a sentence; nothing if there is nothing to say.
        """

    def ended(self, result: RunResult) -> None:
        """Hear what the run came to."""
