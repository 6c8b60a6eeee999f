"""Rows dealt to parts that stand in for one another: whole groups, classes spread evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# With fewer units than this, folds say nothing of which method is better.
_FEWEST_UNITS = 10


def parts_of(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    parts: int,
    rng: np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """Return which of ``parts`` each row is in, shape ``(n,)``.

    Args:
        labels: Shape ``(n,)``.
        groups: Likewise; a group counts to the class of its last row. ``None`` if each row stands
            for itself.
        parts: How many.
        rng: Deals groups of a class in random order; by default in theirs.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max(initial=-1)) + 1
    kind = np.zeros(count, np.int64)
    kind[units] = labels
    order = np.arange(count) if rng is None else rng.permutation(count)
    order = order[np.argsort(kind[order], kind="stable")]
    part = np.empty(count, np.int64)
    part[order] = np.arange(count) % parts
    of_rows: NDArray[np.int64] = part[units]
    return of_rows


def folds_of(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    rng: np.random.Generator,
    folds: int,
) -> NDArray[np.int64] | None:
    """Return :func:`parts_of` in random order, to choose a method by.

    ``None`` if there are too few groups, or rows of at most one class, to choose by.
    """
    units = len(labels) if groups is None else len(np.unique(groups))
    if units < _FEWEST_UNITS or len(np.unique(labels)) < 2:
        return None
    return parts_of(labels, groups, folds, rng)
