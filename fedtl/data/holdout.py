"""The part of each client's rows that it never trains on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def held_out_split(
    labels: NDArray[np.int64], rows: Rows, fraction: float, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Return a client's training rows and its held-out rows, each sorted.

    ``round(fraction * n)`` of n rows are held out, but never all. Each class gives its share,
    rounded by largest remainder with ties broken at random; a class gives its last row only where
    the others have none to spare.

    Args:
        labels: Label of every row of the data set, shape ``(N,)``.
        rows: The client's rows, shape ``(n,)``.
        fraction: Share to hold out, from 0 to 1.
        rng: Source of the choice among equals.
    """
    wanted = min(round(fraction * len(rows)), len(rows) - 1)
    if wanted <= 0:
        return np.sort(rows), rows[:0]
    shuffled = rows[rng.permutation(len(rows))]
    # Grouped by class, in random order within a class.
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    grouped_labels = labels[grouped]
    starts = np.flatnonzero(np.concatenate(([True], grouped_labels[1:] != grouped_labels[:-1])))
    counts = np.diff(starts, append=len(rows))
    taken = _apportioned(counts, wanted, rng)
    rank = np.arange(len(rows)) - np.repeat(starts, counts)
    held = rank < np.repeat(taken, counts)
    return np.sort(grouped[~held]), np.sort(grouped[held])


def _apportioned(
    counts: NDArray[np.int64], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many of each class's rows to take, in all ``wanted``, less than there are."""
    # In whole numbers, so that equal remainders are equal.
    taken, remainder = np.divmod(counts * wanted, counts.sum())
    first = np.lexsort((rng.random(len(counts)), -remainder))
    short = wanted - int(taken.sum())
    for most in (counts - 1, counts):
        while short:
            spare = first[taken[first] < most[first]][:short]
            if not len(spare):
                break
            taken[spare] += 1
            short -= len(spare)
    return taken
