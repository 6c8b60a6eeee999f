"""Metrics of the field from counts: AUROC, F1, sensitivity, Brier score, calibration error.

A client tells how its scores are spread over a fixed grid, not the scores. AUROC is the chance that
an example of a class scores higher than one that is not, ties counted half (Hanley & McNeil, "The
Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982). Within a bin all are tied, so
binning errs by at most half of the pairs that share one: :func:`auroc_error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 100
CALIBRATION_BINS = 15
TEMPERATURES = np.geomspace(0.01, 100.0, 61)
SMALLEST_CELL = 5

# Log-odds, plus log(K - 1) so that 0 is a class as likely as any other, are binned evenly in
# arsinh(x / s): fine near 0, where a least-squares head's lie, and of an even relative width far
# from it, where an overconfident softmax's do.
_LINEAR, _FARTHEST = 0.1, 40.0
_EDGES = np.linspace(-1, 1, BINS + 1)[1:-1] * np.arcsinh(_FARTHEST / _LINEAR)
_SUPPRESSED = -1


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """What a head's scores on some examples of K classes come to.

    Attributes:
        cells: Shape ``(R, 2, BINS)``: examples that are not of the class, and that are, by bin of
            the class's log-odds against the rest. R is K, or 1 for two classes: the second one's.
        predicted: Examples that are called each class, shape ``(K,)``.
        brier: Summed squared distance of probabilities from the one-hot label; for two classes, of
            the second one's probability from 0 or 1. ``None`` if outputs are no probabilities.
        calibration: Shape ``(3, CALIBRATION_BINS)``: examples, those that are right, and summed
            confidence, by bin of the confidence; ``None`` likewise.
    """

    cells: Floats
    predicted: NDArray[np.int64]
    brier: float | None
    calibration: Floats | None

    @classmethod
    def of(
        cls, logits: NDArray[np.floating], truth: NDArray[np.int64], *, probabilities: bool
    ) -> ScoreCounts:
        """Count logits ``(n, K)`` of examples with labels ``(n,)``.

        Args:
            logits: Of which a softmax is taken.
            truth: Labels.
            probabilities: Whether the softmax means probabilities.
        """
        shifted = np.asarray(logits, np.float64)
        count, classes = shifted.shape
        log_p = shifted - _logsumexp(shifted)[:, None]
        told = [1] if classes == 2 else list(range(classes))
        cells = np.zeros((len(told), 2, BINS))
        for at, label in enumerate(told):
            others = _logsumexp(np.delete(shifted, label, 1))
            odds = shifted[:, label] - others + np.log(classes - 1)
            bins = np.searchsorted(_EDGES, np.arcsinh(odds / _LINEAR))
            np.add.at(cells[at], ((truth == label).astype(int), bins), 1)
        best = logits.argmax(1)
        predicted = np.bincount(best, minlength=classes)
        if not probabilities:
            return cls(cells, predicted, None, None)
        p = np.exp(log_p)
        squares = (p - np.eye(classes)[truth]) ** 2
        confidence = p[np.arange(count), best]
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
        place = np.searchsorted(edges, confidence)
        weights = (np.ones(count), (best == truth).astype(float), confidence)
        binned = [np.bincount(place, one, minlength=CALIBRATION_BINS) for one in weights]
        calibration = np.array(binned, np.float64)
        return cls(cells, predicted, float(squares[:, told].sum()), calibration)

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """Return both together; Brier and calibration only if both have them."""
        whole = self.brier is not None and other.brier is not None
        return ScoreCounts(
            self.cells + other.cells,
            self.predicted + other.predicted,
            self.brier + other.brier if whole else None,  # type: ignore[operator]
            self.calibration + other.calibration if whole else None,  # type: ignore[operator]
        )

    def packed_cells(self, smallest: int) -> list[int]:
        """Return the cells as a short list.

        Counts stand for themselves, -1 for a count below ``smallest`` that is not 0, and -(z + 1)
        for a run of z > 0 zeros.
        """
        packed: list[int] = []
        run = 0
        for cell in self.cells.astype(int).ravel().tolist():
            if cell == 0:
                run += 1
                continue
            if run:
                packed.append(-(run + 1))
                run = 0
            packed.append(cell if cell >= smallest else _SUPPRESSED)
        if run:
            packed.append(-(run + 1))
        return packed

    def packed_probabilities(self, smallest: int) -> list[float]:
        """Return the Brier sum and the calibration bins; ``[0.0]`` if there are none.

        A bin of fewer than ``smallest`` examples is sent as empty.
        """
        if self.brier is None or self.calibration is None:
            return [0.0]
        told = np.where(self.calibration[0] >= smallest, self.calibration, 0.0)
        return [self.brier, *told.ravel().tolist()]

    @classmethod
    def unpacked(
        cls,
        cells: Sequence[int],
        predicted: Sequence[int],
        probabilities: Sequence[float],
        examples: NDArray[np.int64],
    ) -> ScoreCounts:
        """Return what was packed; ``examples`` are those of each class, shape ``(K,)``.

        What a row of cells lacks of its class's examples is shared evenly among its suppressed
        cells, whose counts are then estimates.

        Raises:
            ValueError: The list does not have as many cells as K classes have.
        """
        classes = len(examples)
        told = [1] if classes == 2 else list(range(classes))
        size = sum(-code - 1 if code < _SUPPRESSED else 1 for code in cells)
        if size != len(told) * 2 * BINS:
            raise ValueError(f"{size} cells of binned scores for {classes} classes")
        flat: list[float] = []
        for code in cells:
            flat += [0.0] * (-code - 1) if code < _SUPPRESSED else [float(code)]
        found = np.array(flat).reshape(len(told), 2, BINS)
        for at, label in enumerate(told):
            totals = (int(examples.sum() - examples[label]), int(examples[label]))
            for line, total in zip(found[at], totals, strict=True):
                hidden = line < 0
                if hidden.any():
                    line[hidden] = max(total - line[~hidden].sum(), 0) / hidden.sum()
        whole = len(probabilities) > 1
        return cls(
            found,
            np.asarray(predicted, np.int64),
            float(probabilities[0]) if whole else None,
            np.array(probabilities[1:]).reshape(3, CALIBRATION_BINS) if whole else None,
        )


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
    def of(
        cls, counts: ScoreCounts, correct: NDArray[np.int64], examples: NDArray[np.int64]
    ) -> FieldMetrics:
        """Return the metrics; ``correct`` and ``examples`` are by class, shape ``(K,)``."""
        two, count = len(examples) == 2, int(examples.sum())
        each = [auroc(cells[1], cells[0]) for cells in counts.cells]
        errors = [auroc_error(cells[1], cells[0]) for cells in counts.cells]
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
            brier=None if counts.brier is None else _ratio(counts.brier, count),
            calibration_error=None
            if counts.calibration is None
            else calibration_error(counts.calibration),
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


def f1(
    correct: NDArray[np.int64], examples: NDArray[np.int64], predicted: NDArray[np.int64]
) -> list[float]:
    """Return F1 of each class, 2 TP / (examples + predicted), all of shape ``(K,)``.

    NaN for a class that neither occurs nor is predicted.
    """
    sizes = (examples + predicted).tolist()
    return [_ratio(2.0 * c, n) for c, n in zip(correct.tolist(), sizes, strict=True)]


def calibration_error(calibration: Floats) -> float:
    """Return Σ |right - confidence| / n of bins ``(3, B)``; see :class:`ScoreCounts`."""
    count, right, confidence = calibration
    return _ratio(float(np.abs(right - confidence).sum()), float(count.sum()))


def temperature_losses(
    logits: NDArray[np.floating], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the summed cross-entropy of softmax(logits / T) for each of ``TEMPERATURES``.

    Args:
        logits: Shape ``(n, K)``.
        truth: Labels, shape ``(n,)``.
    """
    scaled, own = np.asarray(logits, np.float64), np.arange(len(truth))
    losses = [(_logsumexp(scaled / t) - scaled[own, truth] / t).sum() for t in TEMPERATURES]
    return np.array(losses)


def best_temperature(losses: Sequence[NDArray[np.float64]]) -> float | None:
    """Return the T at which clients' summed losses are least; ``None`` if nobody tells any.

    A head's accuracy does not depend on T, how sure it says to be does.
    """
    told = [one for one in losses if np.isfinite(one).all() and one.any()]
    if not told:
        return None
    return float(TEMPERATURES[int(np.argmin(np.sum(told, axis=0)))])


def _logsumexp(values: Floats) -> Floats:
    top = values.max(1)
    total: Floats = top + np.log(np.exp(values - top[:, None]).sum(1))
    return total


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
