"""What a client tells of a head's scores: counts over a fixed grid, not the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.calibration import (
    CALIBRATION_BINS,
    Floats,
    calibration_of,
    falling_logits,
    logsumexp,
)

BINS = 100

# Log-odds, plus log(K - 1) so that 0 is a class as likely as any other, are binned evenly in
# arsinh(x / s): fine near 0, where a least-squares head's lie, and of an even relative width far
# from it, where an overconfident softmax's do.
_LINEAR, _FARTHEST = 0.1, 40.0
_STEPS = np.linspace(-1, 1, BINS + 1) * np.arcsinh(_FARTHEST / _LINEAR)
_EDGES = _STEPS[1:-1]
_CENTRES = _LINEAR * np.sinh((_STEPS[1:] + _STEPS[:-1]) / 2)


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
        """Return counts if only the cells of the scores are known.

        The Brier sum is then that of probabilities in the middle of their bins; examples that are
        in no cells of their own class count as the others there do.

        Args:
            cells: As in the attributes.
            predicted: Likewise.
            calibration: Likewise; ``None`` if outputs are no probabilities.
        """
        if calibration is None:
            return cls(cells, predicted, None, None)
        p = _probability(_CENTRES, len(predicted))
        own, told = cells[:, 1], cells[:, 1].sum()
        share = calibration[0].sum() / told if len(cells) > 1 and told else 1.0
        brier = (cells[:, 0] @ p**2).sum() + (own @ (1 - p) ** 2).sum() * share
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


def packed_size(packed: Sequence[int]) -> int:
    """Return how many cells :func:`unpacked_cells` makes of it."""
    return sum(-code if code < 0 else 1 for code in packed)


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
