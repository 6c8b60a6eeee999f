"""A site that takes part in nothing, kept to be scored at the end: ``--holdout-site``."""

from __future__ import annotations

import difflib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.errors import UsageError

_MOST_NAMED = 8


def withhold_site(dataset: Dataset, site: str, *, fewest_sites: int) -> Dataset:
    """Return the data with all of one site's inputs, training and test alike, marked unseen.

    The class list stays that of the whole data: a class that only the unseen site has is one that
    no head can have learnt, and counts as wrong there.

    Args:
        dataset: The data.
        site: Name of the site.
        fewest_sites: How many other sites must have training inputs.

    Raises:
        UsageError: The data has no such site, or without it there is too little to learn from.
    """
    if dataset.sites is None:
        raise UsageError(
            f"--holdout-site needs to know each input's site, but {dataset.name} has no sites; "
            "arrange images as site/class/file, give a table or embeddings a site, or leave the "
            "option out"
        )
    names = _names(dataset.sites)
    if site not in names:
        raise UsageError(
            f"--holdout-site {site}: {dataset.name} has no such site{_hint(site, names)}"
        )
    withheld = replace(dataset, unseen=dataset.sites == site)
    if dataset.groups is not None:
        there = dataset.sites == site
        both = np.intersect1d(dataset.groups[there], dataset.groups[~there])
        if len(both):
            other = dataset.sites[~there & (dataset.groups == both[0])][0]
            raise UsageError(
                f"--holdout-site {site}: group {both[0]} has rows there and at {other}, so the "
                "site's scores would not be on unseen data; hold out another site, or let the "
                "group's name hold the site"
            )
    left = _names(dataset.sites[withheld.training])
    if len(left) < fewest_sites:
        raise UsageError(
            f"--holdout-site {site} leaves training data {'only at' if left else 'at'} "
            f"{', '.join(left) or 'no other site'}, but at least {fewest_sites} of the other sites "
            "must have some"
        )
    learnt = np.unique(dataset.labels[withheld.training])
    if len(learnt) < 2:
        raise UsageError(
            f"--holdout-site {site} leaves training data of only one class, "
            f"{dataset.classes[learnt[0]]}, but at least two classes are needed"
        )
    return withheld


def _names(sites: NDArray[np.str_]) -> list[str]:
    return [str(name) for name in np.unique(sites)]


def _hint(site: str, names: list[str]) -> str:
    close = difflib.get_close_matches(site, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"; its sites are {', '.join(names[:_MOST_NAMED])}{more}"
