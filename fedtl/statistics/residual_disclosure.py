"""Whether a site's tables, taken together, leave a small count only one value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.score_counts import BINS, bins_of
from fedtl.transfer.scoring import Score

RARE = -1
"""Stands for all classes too small for a block, which are one: the last."""


class Bounds:
    """What tables tell of how many of each class are wrong, beside how many that are in all.

    Attributes:
        low: At least so many of each class are wrong, shape ``(K + 1,)``; the last is :data:`RARE`.
        high: At most so many.
        called: At least so many are wrongly called each class, shape ``(K,)``.
    """

    def __init__(self, score: Score, smallest: int) -> None:
        sizes = score.examples_per_class
        wrong = sizes - score.correct_per_class
        rare = sizes < smallest
        self._smallest, self._classes = smallest, len(sizes)
        self._sizes, self._wrong = (
            np.append(np.where(rare, 0, one), one[rare].sum()) for one in (sizes, wrong)
        )
        self.low, self.high = np.zeros_like(self._sizes), self._sizes.copy()
        self.called = np.zeros(len(sizes), np.int64)

    def add(
        self,
        label: int,
        right: NDArray[np.bool_],
        wrong: NDArray[np.bool_],
        blocks: list[NDArray[np.int64]],
    ) -> None:
        """Take in that of every block, in order, somebody is surely right, or surely wrong."""
        sizes = np.array([len(block) for block in blocks])
        if wrong.any():
            low = sizes[int(wrong.argmax()) + 1 :].sum() + 1
            self.low[label] = max(self.low[label], low)
        if right.any():
            last = len(right) - 1 - int(right[::-1].argmax())
            high = sizes.sum() - sizes[:last].sum() - 1
            self.high[label] = min(self.high[label], high)

    def add_bins(
        self, label: int, side: int, drawn: NDArray[np.int64], blocks: list[NDArray[np.int64]]
    ) -> None:
        """Take in the bins of a class's log-odds, of the class or (side 0) of all others.

        Below the middle a class is less likely than an even share, and not the one called; where
        its probability is above a half, it is.
        """
        classes = self._classes
        unlikely = drawn < BINS // 2
        likely = drawn > int(bins_of(np.array([np.log(max(classes - 1, 1))]))[0])
        if classes == 2:
            likely = ~unlikely
        if side:
            self.add(label, likely, unlikely, blocks)
        elif classes == 2:
            # Of the first class, if that has a block.
            self.add(0 if self._sizes[0] else RARE, unlikely, likely, blocks)
        elif likely.any():
            sizes = [len(block) for block in blocks]
            self.called[label] = sum(sizes[int(likely.argmax()) + 1 :]) + 1

    @property
    def too_much(self) -> bool:
        """Whether only one value is left for how many of some class are right, or are wrong."""
        if (self._sizes > 0).sum() == 1:
            return False  # The number of right ones in all tells it anyway.
        total = self._wrong.sum()
        low = np.maximum(self.low, total - (self.high.sum() - self.high))
        high = np.minimum(self.high, total - (self.low.sum() - self.low))
        small = _small(self._wrong, self._smallest)
        small |= _small(self._sizes - self._wrong, self._smallest)
        pinned = (low == high) & small
        return bool(pinned.any() or (total and self.called.sum() >= total))


def _small(counts: NDArray[np.int64], smallest: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (counts > 0) & (counts < smallest)
    return found
