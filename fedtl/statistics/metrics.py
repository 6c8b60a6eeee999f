"""Metrics of the field from counts: AUROC, F1, sensitivity, Brier score, calibration error.

A client tells how its scores are spread over a fixed grid, not the scores. AUROC is the chance that
an example of a class scores higher than one that is not, ties counted half (Hanley & McNeil, "The
Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982). Within a bin all are tied, so
binning errs by at most half of the pairs that share one: :func:`auroc_error`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Counts = NDArray[np.int64] | NDArray[np.float64]

BINS = 100
CALIBRATION_BINS = 15
TEMPERATURES = np.geomspace(0.01, 100.0, 61)

# Log-odds, plus log(K - 1) so that 0 is a class as likely as any other, are binned evenly in
# arsinh(x / s): fine near 0, where a least-squares head's lie, and of an even relative width far
# from it, where an overconfident softmax's do.
_LINEAR, _FARTHEST = 0.1, 40.0
_STEPS = np.linspace(-1, 1, BINS + 1) * np.arcsinh(_FARTHEST / _LINEAR)
_EDGES = _STEPS[1:-1]
_CENTRES = _LINEAR * np.sinh((_STEPS[1:] + _STEPS[:-1]) / 2)
_CALIBRATION_EDGES = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """What a head's scores on some examples of K classes come to.

    Attributes:
        cells: Shape ``(R, 2, BINS)``: examples that are not of the class, and that are, by bin of
            the class's log-odds against the rest. R is K, or 1 for two classes: the second one's.
        predicted: Examples that are called each class, shape ``(K,)``; estimates need not be whole.
        brier: Summed squared distance of probabilities from the one-hot label; for two classes, of
            the second one's probability from 0 or 1. ``None`` if outputs are no probabilities.
        calibration: Shape ``(3, CALIBRATION_BINS)``: examples, those that are right, and summed
            confidence, by bin of the confidence; ``None`` likewise.
    """

    cells: Floats
    predicted: Floats
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
        classes = logits.shape[1]
        best = logits.argmax(1)
        predicted = np.bincount(best, minlength=classes).astype(float)
        cells = np.zeros((len(told_classes(classes)), 2, BINS))
        brier = 0.0
        for at, (label, odds) in enumerate(log_odds(logits)):
            own = truth == label
            np.add.at(cells[at], (own.astype(int), bins_of(odds)), 1)
            brier += float(np.square(_probability(odds, classes) - own).sum())
        if not probabilities:
            return cls(cells, predicted, None, None)
        return cls(cells, predicted, brier, calibration_of(falling_logits(logits), best == truth))

    @classmethod
    def of_cells(cls, cells: Floats, predicted: Floats, calibration: Floats | None) -> ScoreCounts:
        """Return counts of which the cells are all that is known of scores.

        The Brier sum is then that of probabilities in the middle of their bins.

        Args:
            cells: As in the attributes.
            predicted: Likewise.
            calibration: Likewise; ``None`` if outputs are no probabilities.
        """
        if calibration is None:
            return cls(cells, predicted, None, None)
        p = _probability(_CENTRES, len(predicted))
        brier = (cells[:, 0] @ p**2 + cells[:, 1] @ (1 - p) ** 2).sum()
        return cls(cells, predicted, float(brier), calibration)

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """Return both together; Brier and calibration only if both have them."""
        whole = self.brier is not None and other.brier is not None
        return ScoreCounts(
            self.cells + other.cells,
            self.predicted + other.predicted,
            self.brier + other.brier if whole else None,  # type: ignore[operator]
            self.calibration + other.calibration if whole else None,  # type: ignore[operator]
        )

    def packed_probabilities(self) -> list[float]:
        """Return the Brier sum and the calibration bins; ``[0.0]`` if there are none."""
        if self.brier is None or self.calibration is None:
            return [0.0]
        return [self.brier, *self.calibration.ravel().tolist()]

    @classmethod
    def unpacked(
        cls, cells: Sequence[int], predicted: Sequence[int], probabilities: Sequence[float]
    ) -> ScoreCounts:
        """Return what was packed.

        Raises:
            ValueError: The list does not have as many cells as K classes have.
        """
        rows = len(told_classes(len(predicted)))
        flat = unpacked_cells(cells)
        if len(flat) != rows * 2 * BINS:
            raise ValueError(f"{len(flat)} cells of binned scores for {len(predicted)} classes")
        whole = len(probabilities) > 1
        return cls(
            flat.reshape(rows, 2, BINS),
            np.asarray(predicted, np.float64),
            float(probabilities[0]) if whole else None,
            np.array(probabilities[1:]).reshape(3, CALIBRATION_BINS) if whole else None,
        )


def packed_cells(cells: Floats) -> list[int]:
    """Return counts as a short list: -z stands for a run of z > 0 zeros."""
    packed: list[int] = []
    for cell in cells.astype(int).ravel().tolist():
        if cell:
            packed.append(cell)
        elif packed and packed[-1] < 0:
            packed[-1] -= 1
        else:
            packed.append(-1)
    return packed


def unpacked_cells(packed: Sequence[int]) -> Floats:
    """Return what :func:`packed_cells` packed, in one dimension."""
    flat: list[float] = []
    for code in packed:
        flat += [0.0] * -code if code < 0 else [float(code)]
    return np.array(flat)


def told_classes(classes: int) -> list[int]:
    """Return the classes whose scores are binned: of two, the second."""
    return [1] if classes == 2 else list(range(classes))


def log_odds(logits: NDArray[np.floating]) -> Iterator[tuple[int, Floats]]:
    """Yield each of :func:`told_classes` and its log-odds against the rest, plus log(K - 1).

    Args:
        logits: Shape ``(n, K)``; the log-odds have shape ``(n,)``.
    """
    exact = np.asarray(logits, np.float64)
    classes = exact.shape[1]
    for label in told_classes(classes):
        others = logsumexp(np.delete(exact, label, 1))
        yield label, exact[:, label] - others + np.log(classes - 1)


def bins_of(odds: Floats) -> NDArray[np.int64]:
    """Return the bins of log-odds as :func:`log_odds` has them, of the same shape."""
    return np.searchsorted(_EDGES, np.arcsinh(odds / _LINEAR))


def _probability(odds: Floats, classes: int) -> Floats:
    p: Floats = 1 / (1 + np.exp(np.clip(np.log(classes - 1) - odds, -700, 700)))
    return p


def falling_logits(logits: NDArray[np.floating]) -> Floats:
    """Return each example's logits from the highest to the lowest."""
    return -np.sort(-np.asarray(logits, np.float64), axis=1)


def calibration_of(falling: Floats, right: NDArray[np.bool_], temperature: float = 1.0) -> Floats:
    """Return examples, those right, and summed confidence, by bin of confidence.

    Args:
        falling: Each example's logits, the highest first, shape ``(n, K)``.
        right: Whether each is right, shape ``(n,)``.
        temperature: By which logits are divided before their softmax.

    Returns:
        Shape ``(3, CALIBRATION_BINS)``.
    """
    scaled = falling / temperature
    confidence = np.exp(scaled[:, 0] - logsumexp(scaled))
    place = np.searchsorted(_CALIBRATION_EDGES, confidence)
    weights = (np.ones(len(right)), right.astype(float), confidence)
    binned = [np.bincount(place, one, minlength=CALIBRATION_BINS) for one in weights]
    return np.array(binned, np.float64)


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


def f1(correct: _Counts, examples: NDArray[np.int64], predicted: _Counts) -> list[float]:
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
    losses = [(logsumexp(scaled / t) - scaled[own, truth] / t).sum() for t in TEMPERATURES]
    return np.array(losses)


def temperature_gaps(falling: Floats, right: NDArray[np.bool_]) -> Floats:
    """Return Σ (right - confidence) by bin of confidence, for each of ``TEMPERATURES``.

    Args:
        falling: Each example's logits, the highest first, shape ``(n, K)``.
        right: Whether each is right, shape ``(n,)``.

    Returns:
        Shape ``(T, CALIBRATION_BINS)``.
    """
    each = [calibration_of(falling, right, float(t)) for t in TEMPERATURES]
    return np.array([told[1] - told[2] for told in each])


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a client tells of how sure a head should be; empty if it has too few examples.

    Attributes:
        examples: How many examples that are.
        losses: As :func:`temperature_losses` has them, shape ``(T,)``.
        gaps: As :func:`temperature_gaps` has them, shape ``(T, CALIBRATION_BINS)``.
    """

    examples: int
    losses: Floats
    gaps: Floats

    @classmethod
    def of(cls, logits: NDArray[np.floating], truth: NDArray[np.int64]) -> Calibration:
        """Return it for logits ``(n, K)`` of examples with labels ``(n,)``."""
        gaps = temperature_gaps(falling_logits(logits), logits.argmax(1) == truth)
        return cls(len(truth), temperature_losses(logits, truth), gaps)


def best_temperature(told: Sequence[Calibration]) -> float | None:
    """Return the T at which clients' summed losses are least; ``None`` if nobody tells any.

    A head's accuracy does not depend on T, how sure it says to be does.
    """
    best = _best(told)
    return None if best is None else float(TEMPERATURES[best])


def cross_fitted_error(told: Sequence[Calibration]) -> float | None:
    """Return the calibration error that the fitted temperature has on examples it has not seen.

    Each client's outputs are divided by the temperature that the *other* clients' examples make
    best, so that no example is judged by a temperature that was fitted to it; Stone,
    "Cross-Validatory Choice and Assessment of Statistical Predictions", Journal of the Royal
    Statistical Society B 36, 1974. ``None`` with fewer than two clients that tell anything.
    """
    known = [one for one in told if _usable(one)]
    if len(known) < 2:
        return None
    gaps = np.zeros(CALIBRATION_BINS)
    for at, one in enumerate(known):
        others = _best([*known[:at], *known[at + 1 :]])
        gaps += one.gaps[others]
    return float(np.abs(gaps).sum() / sum(one.examples for one in known))


def _usable(one: Calibration) -> bool:
    return bool(one.examples and np.isfinite(one.losses).all())


def _best(told: Sequence[Calibration]) -> int | None:
    losses = [one.losses for one in told if _usable(one)]
    return int(np.argmin(np.sum(losses, axis=0))) if losses else None


def logsumexp(values: Floats) -> Floats:
    """Return log Σ exp of each row of ``(n, K)``."""
    top = values.max(1)
    total: Floats = top + np.log(np.exp(values - top[:, None]).sum(1))
    return total


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
