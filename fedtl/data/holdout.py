"""Parts of the data that nobody trains on, drawn by class; whole groups if there are any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.groups import Rows, units_of


def held_out_split(
    labels: NDArray[np.int64],
    rows: Rows,
    fraction: float,
    rng: np.random.Generator,
    groups: NDArray[np.str_] | NDArray[np.int64] | None = None,
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
        groups: Group of every row of the data set, shape ``(N,)``: rows of one group stay
            together, so that the share is met about (see ``whole_groups``), and who has a single
            group holds out nothing.
    """
    if groups is not None:
        units = units_of(rows, labels, groups)
        held = whole_groups(units.sizes, units.labels, fraction, rng)
        return units.rows_of(np.flatnonzero(~held)), units.rows_of(np.flatnonzero(held))
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


def stratified_share(
    strata: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which rows to hold out: as ``held_out_split``, of numbered strata in place of classes.

    Args:
        strata: Stratum of each row, such as its class at its site, shape ``(n,)``.
        fraction: Share to hold out, from 0 to 1.
        rng: Source of the choice among equals.
    """
    held = np.zeros(len(strata), dtype=np.bool_)
    held[held_out_split(strata, np.arange(len(strata)), fraction, rng)[1]] = True
    return held


def whole_groups(
    sizes: NDArray[np.int64],
    strata: NDArray[np.int64],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return which groups to hold out: about ``fraction`` of the rows of every stratum.

    Each stratum's groups are offered in random order, and one is taken if that brings the rows
    held out closer to what all strata so far should give. A stratum keeps its last group. If that
    leaves nothing to take and ``fraction`` amounts to a row, one group is taken all the same, the
    smallest, but never the only one there is.

    Args:
        sizes: Rows of each group, shape ``(u,)``.
        strata: Stratum of each group, such as its most frequent class, shape ``(u,)``.
        fraction: Share of the rows to hold out, from 0 to 1.
        rng: Source of the order.
    """
    taken = np.zeros(len(sizes), dtype=np.bool_)
    order = rng.permutation(len(sizes))
    wanted, held = 0.0, 0
    for stratum in rng.permutation(np.unique(strata)):
        members = order[strata[order] == stratum]
        wanted += fraction * int(sizes[members].sum())
        spare = len(members) - 1
        for group in members:
            size = int(sizes[group])
            if spare and abs(held + size - wanted) < abs(held - wanted):
                taken[group] = True
                held += size
                spare -= 1
    if not held and len(sizes) > 1 and round(wanted):
        counts = np.bincount(strata)[strata[order]]
        # The smallest of those that are not alone in their stratum, or else of all.
        taken[order[np.lexsort((sizes[order], counts == 1))[0]]] = True
    return taken
