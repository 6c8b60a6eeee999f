"""A test part for data that has no test split of its own: ``--test-fraction``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.groups import Units, units_of
from fedtl.data.holdout import drawn_share
from fedtl.data.understood import counted
from fedtl.determinism import generator

# Of fewer examples, or of fewer groups, an accuracy would say next to nothing: at 80 % of 20
# examples its 95 % interval (Wilson) reaches from 58 to 92 %.
_FEWEST_EXAMPLES = 20
_FEWEST_GROUPS = 5
_FEWEST_OF_A_CLASS = 2


def with_test_part(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return the data with ``fraction`` of its rows as test split, if it has none of its own.

    The part stands for a client that joins later: its rows are no client's. It is drawn by class
    (of a group, its most frequent one) and by site, before the data is dealt, so that it is the
    same for every partition. Every class keeps training rows, and every site. Whole groups are in
    it or are not.

    Nothing is held out, and a note says so, if the part would have fewer than 20 rows, fewer than
    two rows for every class on average, or fewer than five groups if there are any.

    Args:
        dataset: The data; rows of an unseen site are not drawn.
        fraction: Share of the rows, from 0 (none) to 1.
        seed: Seed of the data, which the seeds of a comparison share.
    """
    if not fraction or len(dataset.tested):
        return dataset
    units = units_of(dataset.training, dataset.labels, dataset.groups)
    rng = generator(seed, "test part")
    fewest = int(dataset.groups is not None)
    chosen = drawn_share(_strata(dataset, units), fraction, rng, fewest=fewest)
    _give_back(dataset, units, chosen)
    rows = units.rows_of(np.flatnonzero(chosen))
    classes = len(np.unique(dataset.labels[dataset.training]))
    fewest = max(_FEWEST_EXAMPLES, _FEWEST_OF_A_CLASS * classes)
    found, wanted = counted(len(rows), "example"), f"{fewest:,}"
    too_small = len(rows) < fewest
    if dataset.groups is not None and chosen.sum() < _FEWEST_GROUPS and not too_small:
        found, too_small = counted(int(chosen.sum()), "group"), True
        wanted = f"{_FEWEST_GROUPS} groups"
    if too_small:
        note = (
            f"no test part is held out: test-fraction = {fraction:g} of {dataset.name} would be "
            f"{found}, and fewer than {wanted} tell too little of new data; raise it, or set it to "
            "0"
        )
        return replace(dataset, notes=(*dataset.notes, note))
    test = np.zeros(len(dataset), dtype=np.bool_)
    test[rows] = True
    return replace(dataset, test=test, test_is_held_out=True)


def _strata(dataset: Dataset, units: Units) -> NDArray[np.int64]:
    """Return a number for each unit's site and class."""
    if dataset.sites is None:
        return units.labels
    # A group that lies at several sites counts to one of them.
    first = np.unique(units.of, return_index=True)[1]
    sites = np.unique(dataset.sites[units.rows[first]], return_inverse=True)[1]
    strata: NDArray[np.int64] = sites * len(dataset.classes) + units.labels
    return strata


def _give_back(dataset: Dataset, units: Units, chosen: NDArray[np.bool_]) -> None:
    """Take units out of ``chosen``, in place, until all classes and sites have training rows."""
    for names in (dataset.labels, dataset.sites):
        if names is None:
            continue
        own = np.unique(names[units.rows], return_inverse=True)[1]
        left = np.bincount(own[~chosen[units.of]], minlength=own.max() + 1)
        for lost in np.flatnonzero(left == 0):
            chosen[units.of[np.argmax(own == lost)]] = False
