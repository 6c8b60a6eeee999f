"""The inputs on a run's page: a few of each client, and one of each class and site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.preparation.split import Split
from fedtl.results.detail import ClientSamples, SitePanel

_SAMPLED_CLIENTS = 6
_MOST_SITES = 8
_MOST_CLASSES = 10


def samples_of(dataset: Dataset, split: Split, count: int) -> list[ClientSamples]:
    """Return evenly spaced training inputs of each of the first few clients.

    Args:
        dataset: The data; precomputed features have nothing to show.
        split: Who holds what.
        count: Inputs of a client.

    Raises:
        UnreadableImageError: An input cannot be decoded.
    """
    if not count or isinstance(dataset.inputs, np.ndarray):
        return []
    samples = []
    for name, rows in list(zip(split.names, split.train, strict=True))[:_SAMPLED_CLIENTS]:
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))]
        samples.append(
            ClientSamples(
                name=name,
                items=[dataset.inputs.load(int(row)) for row in chosen],
                labels=[dataset.classes[dataset.labels[row]] for row in chosen],
            )
        )
    return samples


def panel_of(dataset: Dataset, pseudonyms: Mapping[str, str] | None = None) -> SitePanel | None:
    """Return the first training input of each class at each site, in the order of the data.

    The first 8 sites have a row each, the 10 classes with most training inputs a column; data
    without sites has a single row. The holdout-site is shown, and marked as such.

    Args:
        dataset: The data.
        pseudonyms: Names that replace the sites' own; a site without one is called by its place.
            ``None`` if sites may be named.

    Returns:
        ``None`` for precomputed features.

    Raises:
        UnreadableImageError: An input cannot be decoded.
    """
    if isinstance(dataset.inputs, np.ndarray):
        return None
    rows = np.flatnonzero(~dataset.test)
    labels = dataset.labels[rows]
    totals = np.bincount(labels, minlength=len(dataset.classes))
    columns = np.sort(np.argsort(-totals, kind="stable")[:_MOST_CLASSES])
    place = np.zeros(len(rows), np.int64)
    names = [""]
    if dataset.sites is not None:
        sites, place = np.unique(dataset.sites[rows], return_inverse=True)
        unseen = set(dataset.sites[dataset.withheld].tolist())
        called = {str(site): str(site) for site in sites}
        if pseudonyms is not None:
            called = {site: pseudonyms.get(site, f"site-{at}") for at, site in enumerate(called)}
        names = [called[str(site)] + " (unseen)" * (site in unseen) for site in sites]
    pictures: list[list[Any]] = []
    for site in range(min(len(names), _MOST_SITES)):
        there = [rows[(place == site) & (labels == column)] for column in columns]
        pictures.append(
            [dataset.inputs.load(int(some[0])) if len(some) else None for some in there]
        )
    return SitePanel(
        sites=names[:_MOST_SITES],
        classes=[dataset.classes[column] for column in columns],
        pictures=pictures,
        sites_left_out=max(0, len(names) - _MOST_SITES),
        classes_left_out=len(dataset.classes) - len(columns),
    )
