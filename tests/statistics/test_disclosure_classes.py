"""An attacker on the confusion matrix of three and four classes, by integer programming."""

from __future__ import annotations

import numpy as np
import pytest
from disclosed_scores import sites_score, spans_of, told_of
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from fedtl.statistics.disclosure import SMALLEST_CELL, Disclosed
from fedtl.statistics.score_counts import BINS, bins_of
from fedtl.transfer.scoring import Score

Counts = NDArray[np.int64]


class _Attacker:
    """Knows classes' sizes, how many are right, the method, and all tables; not the K² cells."""

    def __init__(self, score: Score) -> None:
        self.classes, self.sizes = score.classes, score.examples_per_class
        self._rows: list[NDArray[np.float64]] = []
        self._low: list[int] = []
        self._high: list[int] = []
        wrong = int((~score.right).sum())
        self._know(1 - np.eye(self.classes), wrong, wrong)
        self.told = told_of(score)
        for label, size in enumerate(self.sizes.tolist()):
            self._know(self._cells(label, range(self.classes)), size, size)
            if self.told.correct[label] >= 0:
                self._calls(label)
        if (self.told.correct >= 0).any():
            self._bins()

    def _cells(self, label: int, called: object) -> NDArray[np.float64]:
        cells = np.zeros((self.classes, self.classes))
        cells[label, list(called)] = 1  # type: ignore[call-overload]
        return cells

    def _know(self, cells: NDArray[np.float64], low: int, high: int) -> None:
        self._rows.append(cells.ravel())
        self._low.append(low)
        self._high.append(high)

    def _calls(self, label: int) -> None:
        """The right ones first, then by class: somebody of each block is called as it is told."""
        size = int(self.sizes[label])
        order = [label, *(one for one in range(self.classes) if one != label)]
        told = np.repeat(order, self.told.confusion[label, order])
        for first, last in spans_of(size):
            at = order.index(int(told[first]))
            before, until = (self._cells(label, order[:end]) for end in (at, at + 1))
            self._know(before, 0, last - 1)
            self._know(until, first + 1, size)
            self._know(until - before, 1, size)

    def _bins(self) -> None:
        """Below an even share nobody is right; above a half all are called the class."""
        assert self.told.counts is not None
        half = int(bins_of(np.array([np.log(self.classes - 1)]))[0])
        for label, (others, own) in enumerate(self.told.counts.cells.astype(int)):
            size, rest = int(self.sizes[label]), int(self.sizes.sum() - self.sizes[label])
            wrong = self._cells(label, set(range(self.classes)) - {label})
            falling = np.repeat(np.arange(BINS)[::-1], own[::-1])
            for first, last in spans_of(size) if len(falling) else []:
                if falling[first] < BINS // 2:
                    self._know(wrong, size - last + 1, size)
                if falling[first] > half:
                    self._know(wrong, 0, size - first - 1)
            called = np.zeros_like(wrong)
            called[:, label] = np.arange(self.classes) != label
            rising = np.repeat(np.arange(BINS), others)
            for first, last in spans_of(rest) if len(rising) else []:
                if rising[first] > half:
                    self._know(called, rest - last + 1, rest)

    def range_of(self, label: int, called: int) -> tuple[int, int]:
        """Return the least and the most that a cell can be."""
        cell = self._cells(label, [called]).ravel()
        ends = []
        for sign in (1, -1):
            found = milp(
                sign * cell,
                constraints=LinearConstraint(np.array(self._rows), self._low, self._high),
                integrality=np.ones(self.classes**2),
                bounds=Bounds(0, np.repeat(self.sizes, self.classes)),
            )
            assert found.success
            ends.append(round(sign * found.fun))
        return ends[0], ends[1]


@pytest.mark.parametrize("classes", [3, 4])
def test_no_small_cell_of_a_confusion_matrix_is_pinned(classes: int) -> None:
    tried = 0
    for seed in range(6):
        draws = np.random.default_rng(seed)
        count, scale = int(draws.integers(15, 50)), float(draws.choice([1.0, 2.0, 3.0]))
        score = sites_score(classes, count, seed, scale)
        attacker = _Attacker(score)
        for label, called in np.argwhere(score.confusion > 0).tolist():
            true = int(score.confusion[label, called])
            if true < SMALLEST_CELL:
                tried += 1
                low, high = attacker.range_of(label, called)
                assert low <= true <= high
                assert low < high
    assert tried > 15


def test_a_loss_leaves_a_site_with_two_decimals() -> None:
    """More of them would tell of one example among those that were known."""
    score = Score(12.3456789, np.arange(20) % 2, np.zeros(20, np.int64), 2)
    assert Disclosed.of(score, 5, binned=False, probabilities=False).loss == 0.62
    assert Disclosed.of(score, 0, binned=False, probabilities=False).loss == 12.3456789 / 20
