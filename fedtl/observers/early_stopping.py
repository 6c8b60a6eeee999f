"""Early stopping: no further round begins once accuracy on held-out rows has stopped rising."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedtl.observers.observer import Observer
from fedtl.wording import count_of

if TYPE_CHECKING:
    from fedtl.federation.round_row import Round
    from fedtl.observers.observer import Began


class EarlyStopping(Observer):
    """Stops after so many rounds in a row without a better accuracy than the best so far.

    It uses all clients' held-out rows and never the test split. A head is scored while the next
    round runs, so that round is finished, too. The last head is kept, not the best:
    that one would be chosen by the rows that score it. (Prechelt, "Early Stopping - But When?",
    Neural Networks: Tricks of the Trade, 1998, calls this the criterion UP, here of accuracy.)

    Args:
        patience: How many rounds, at least one.
    """

    vital = True

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best: tuple[float, int] | None = None
        self._stopped = False

    def began(self, run: Began) -> str | None:
        """Go on from the rounds that were done before."""
        reasons = [self.round(one, run.config.most_rounds) for one in run.rounds]
        return next((reason for reason in reasons if reason), None)

    def round(self, finished: Round, rounds: int) -> str | None:
        """Return why to stop after a round that is scored; nothing to go on."""
        accuracy = finished.accuracy
        if self._stopped or accuracy is None or finished.round + 1 >= rounds:
            return None
        if self._best is None or accuracy > self._best[0]:
            self._best = accuracy, finished.round
        best, at = self._best
        if finished.round - at < self._patience:
            return None
        self._stopped = True
        return (
            f"Training stops early, after round {finished.round + 1} of at most {rounds}: accuracy "
            f"on held-out rows was best after round {at} ({best:.1%}), and "
            f"{count_of(self._patience, 'round')} brought no better (patience = {self._patience}). "
            "The same rows score clients' own data, so these scores are not independent of when "
            "training stopped; scores on new data are."
        )
