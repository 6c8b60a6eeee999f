"""Metrics of the field from counts: AUROC, F1, sensitivity, Brier score, calibration error.

AUROC is the chance that an example of a class scores higher than one that is not, ties counted half
(Hanley & McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982). Within
a bin of scores all are tied, so binning errs by at most half of the pairs that share one:
:func:`auroc_error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.calibration import Floats, calibration_error
from fedtl.statistics.score_counts import ScoreCounts

_Counts = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True)
class FieldMetrics:
    """Metrics of one head on some examples; NaN or ``None`` if unknown.

    Attributes:
        macro_auroc: Mean of ``auroc`` over the classes that have one; of the second of two classes.
        auroc: One-vs-rest, by class; the second class's stands for both of two.
        auroc_error: By how much binning can have changed ``macro_auroc`` at most.
        macro_f1: Mean of ``f1``.
        f1: By class that occurs or is predicted.
        sensitivity: Recall of the second of two classes; ``None`` for more.
        specificity: Recall of the first of two classes; ``None`` for more.
        brier: Mean squared error of the probabilities; for two classes, of the second one's.
        calibration_error: Expected calibration error of the predicted class, 15 even bins (Guo et
            al., "On Calibration of Modern Neural Networks", ICML 2017).
    """

    macro_auroc: float
    auroc: list[float]
    auroc_error: float
    macro_f1: float
    f1: list[float]
    sensitivity: float | None
    specificity: float | None
    brier: float | None
    calibration_error: float | None

    @classmethod
    def of(cls, counts: ScoreCounts, correct: _Counts, examples: NDArray[np.int64]) -> FieldMetrics:
        """Return the metrics; ``correct`` and ``examples`` are by class, shape ``(K,)``."""
        two = len(examples) == 2
        each = [auroc(cells[1], cells[0]) for cells in counts.cells]
        errors = [auroc_error(cells[1], cells[0]) for cells in counts.cells]
        calibration = counts.calibration
        by_class = f1(correct, examples, counts.predicted)
        recall = [_ratio(float(c), float(n)) for c, n in zip(correct, examples, strict=True)]
        return cls(
            macro_auroc=_mean(each),
            auroc=each * 2 if two else each,
            auroc_error=_mean(errors),
            macro_f1=_mean(by_class),
            f1=by_class,
            sensitivity=recall[1] if two else None,
            specificity=recall[0] if two else None,
            brier=None
            if counts.brier is None or calibration is None
            else _ratio(counts.brier, float(calibration[0].sum())),
            calibration_error=None if calibration is None else calibration_error(calibration),
        )


def auroc(positives: Floats, negatives: Floats) -> float:
    """Return the area under the ROC curve of two histograms, shape ``(B,)`` each, bins ascending.

    NaN if either is empty.
    """
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    ahead = positives @ (below + negatives / 2)
    return _ratio(float(ahead), float(positives.sum() * negatives.sum()))


def auroc_error(positives: Floats, negatives: Floats) -> float:
    """Return half the share of pairs that lie in one bin: the most that binning changes AUROC."""
    tied = float(positives @ negatives) / 2
    return _ratio(tied, float(positives.sum() * negatives.sum()))


def f1(correct: _Counts, examples: NDArray[np.int64], predicted: _Counts) -> list[float]:
    """Return F1 of each class, 2 TP / (examples + predicted), all of shape ``(K,)``.

    NaN for a class that neither occurs nor is predicted.
    """
    sizes = (examples + predicted).tolist()
    return [_ratio(2.0 * c, n) for c, n in zip(correct.tolist(), sizes, strict=True)]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
