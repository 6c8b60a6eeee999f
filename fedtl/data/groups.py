"""Rows that belong together (a patient's, a slide's, an author's): counted, dealt, kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """What is dealt or held out whole: each group of some rows, or each row if there are no groups.

    Attributes:
        rows: The rows, shape ``(n,)``, in the order in which they were given.
        of: Unit of each of them, numbered without gaps, shape ``(n,)``.
        labels: Most frequent label of each unit, the lowest of equals, shape ``(u,)``.
        sizes: Rows of each unit, shape ``(u,)``.
    """

    rows: Rows
    of: NDArray[np.int64]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def rows_of(self, units: NDArray[np.int64]) -> Rows:
        """Return the rows of these units, rising."""
        ends = self._starts[1:]
        parts = [self._sorted[self._starts[unit] : ends[unit]] for unit in units]
        return np.sort(np.concatenate([self.rows[:0], *parts]))

    @cached_property
    def _sorted(self) -> Rows:
        return self.rows[np.argsort(self.of, kind="stable")]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.sizes)])


def units_of(
    rows: Rows, labels: NDArray[np.int64], groups: NDArray[np.str_] | NDArray[np.int64] | None
) -> Units:
    """Return the units that ``rows`` consist of; groups are numbered by their sorted names.

    Args:
        rows: Row numbers, shape ``(n,)``.
        labels: Label of every row of the data set, shape ``(N,)``.
        groups: Group of every row of the data set, shape ``(N,)``; ``None`` for none.
    """
    own = labels[rows]
    if groups is None:
        return Units(rows, np.arange(len(rows)), own, np.ones(len(rows), np.int64))
    names, of = np.unique(groups[rows], return_inverse=True)
    classes = int(own.max(initial=0)) + 1
    counts = np.bincount(of * classes + own, minlength=len(names) * classes)
    counts = counts.reshape(len(names), classes)
    return Units(rows, of.astype(np.int64), counts.argmax(axis=1), counts.sum(axis=1))


def parted_group(groups: NDArray[np.str_], parts: NDArray[np.generic]) -> int | None:
    """Return the place of a row whose group also lies in another part; ``None`` if all are whole.

    Args:
        groups: Group of each row, shape ``(n,)``.
        parts: What each row lies in (a client, a site, a split), shape ``(n,)``.
    """
    if not len(groups):
        return None
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    elsewhere = parts != parts[first][of]
    return int(np.argmax(elsewhere)) if elsewhere.any() else None


def counted(dataset: Dataset, what: str = "rows") -> str:
    """Return the word for what is counted in this data set: groups if it has any."""
    return what if dataset.groups is None else "groups"


def straddling_test(dataset: Dataset) -> Sequence[str]:
    """Return the groups that lie both in training and in the data's own test split, sorted."""
    if dataset.groups is None:
        return []
    both = np.intersect1d(dataset.groups[dataset.training], dataset.groups[dataset.tested])
    return [str(name) for name in both]
