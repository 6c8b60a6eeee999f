"""Scores of a finished head on labelled inputs: ``predict --score``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.report.predictions import Predictions
from fedtl.statistics.calibration import calibration_error, calibration_of, falling_logits
from fedtl.statistics.intervals import Clusters
from fedtl.transfer.scoring import balanced_accuracy
from fedtl.wording import percent, share_of, shortened, span

if TYPE_CHECKING:
    from rich.table import Table

_CLASS_WIDTH = 18
_MOST_CONFUSED = 2
_SMALLEST_PROBABILITY = 1e-300


@dataclass(frozen=True, eq=False)
class Scored:
    """Counts and the scores from them.

    Attributes:
        classes: The K class names.
        confusion: Shape ``(K, K)``, int64; rows are the true class.
        clusters: Sums over groups, from which the interval comes.
        calibration_error: By how much the probability of the predicted class and the share that is
            right differ, in 15 bins of that probability, weighted by their sizes; ``None`` for
            scores that are not probabilities.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    clusters: Clusters
    calibration_error: float | None

    @classmethod
    def of(
        cls, predictions: Predictions, labels: NDArray[np.int64], groups: NDArray[np.int64] | None
    ) -> Scored:
        """Return the counts of predictions for inputs of known class.

        Args:
            predictions: Of n inputs.
            labels: Shape ``(n,)``, in the order of the classes.
            groups: Which inputs belong together, shape ``(n,)``; ``None`` for no groups.
        """
        count = len(predictions.classes)
        predicted = predictions.values.argmax(1)
        right = predicted == labels
        pairs = np.bincount(labels * count + predicted, minlength=count**2)
        error = None
        if predictions.measure == "probability":
            logits = np.log(np.maximum(predictions.values, _SMALLEST_PROBABILITY))
            error = calibration_error(calibration_of(falling_logits(logits), right))
        return cls(
            tuple(predictions.classes),
            pairs.reshape(count, count),
            Clusters.of(right, groups),
            error,
        )

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur."""
        return balanced_accuracy(self.confusion.diagonal(), self.confusion.sum(1))

    def to_mapping(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        interval = self.clusters.interval
        assert interval is not None
        return {
            "accuracy": self.clusters.correct / self.clusters.examples,
            "accuracy_low": interval.low,
            "accuracy_high": interval.high,
            "balanced_accuracy": self.balanced_accuracy,
            "correct": self.clusters.correct,
            "examples": self.clusters.examples,
            "groups": self.clusters.groups,
            "calibration_error": self.calibration_error,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }

    def table(self) -> Table:
        """Return a row per class that occurs: how many are right, and confusions."""
        from rich.text import Text

        from fedtl.report.tables import plain_table

        table = plain_table("Class", "Inputs", "Right")
        # A caption wraps at the width of its table.
        table.add_column("Most often taken for", no_wrap=True, min_width=40)
        for index in np.flatnonzero(self.confusion.sum(1)).tolist():
            row = self.confusion[index]
            others = row.copy()
            others[index] = 0
            worst = [i for i in np.argsort(-others, kind="stable")[:_MOST_CONFUSED] if others[i]]
            taken = ", ".join(f"{shortened(self.classes[i], 14)} {others[i]:,}" for i in worst)
            table.add_row(
                Text(shortened(self.classes[index], _CLASS_WIDTH)),
                f"{row.sum():,}",
                share_of(int(row[index]), int(row.sum())),
                Text(taken),
            )
        correct, total = self.clusters.correct, self.clusters.examples
        interval = self.clusters.interval
        assert interval is not None
        grouped = f" in {self.clusters.groups:,} groups" if self.clusters.groups != total else ""
        lines = [
            f"accuracy {share_of(correct, total)} of {total:,} inputs{grouped}, "
            f"95 % interval {span(*interval)} %"
            if total >= 100
            else f"{share_of(correct, total)} inputs right{grouped}, 95 % interval "
            f"{span(*interval)} %",
            f"balanced accuracy {percent(self.balanced_accuracy)}",
        ]
        if self.calibration_error is not None:
            lines.append(f"calibration error {percent(self.calibration_error)}")
        table.caption = "\n".join(lines)
        return table
