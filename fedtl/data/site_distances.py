"""How far sites lie apart: in their mix of classes, and in how their inputs look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset

# A picture is told by the mean and spread of its colours and by how sharp it is.
_SHRUNK = 64


@dataclass(frozen=True, eq=False)
class SiteDistances:
    """Distances between S sites, each of shape ``(S, S)``, symmetric, float64.

    Attributes:
        sites: Their names, sorted.
        mix: Total variation of the shares of classes: 0 is the same mix, 1 no class in common.
        look: Root mean square over traits of the difference of means, in standard deviations
            within sites; what chance would give is taken off. NaN if a site has fewer than two
            inputs among those looked at.
    """

    sites: tuple[str, ...]
    mix: NDArray[np.float64]
    look: NDArray[np.float64]


def site_distances(
    dataset: Dataset, rows: NDArray[np.int64], traits: NDArray[np.float64]
) -> SiteDistances | None:
    """Return the distances between the sites of the data; ``None`` if there are not two.

    Args:
        dataset: The data.
        rows: Rows that were looked at, shape ``(n,)``.
        traits: What was seen in each of them, shape ``(n, t)``.
    """
    if dataset.sites is None:
        return None
    names, site = np.unique(dataset.sites, return_inverse=True)
    if len(names) < 2:
        return None
    classes = len(dataset.classes)
    counts = np.bincount(site * classes + dataset.labels, minlength=len(names) * classes)
    shares = counts.reshape(len(names), classes) / np.bincount(site)[:, None]
    mix = np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2
    return SiteDistances(tuple(map(str, names)), mix, _look(site[rows], traits, len(names)))


def _look(site: NDArray[np.int64], traits: NDArray[np.float64], sites: int) -> NDArray[np.float64]:
    """Return standardised differences of means, shape ``(sites, sites)``."""
    seen = np.bincount(site, minlength=sites).astype(np.float64)
    sums = np.stack([np.bincount(site, one, sites) for one in traits.T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = sums / seen[:, None]
        within = ((traits - means[site]) ** 2).sum(axis=0) / max(1.0, len(site) - (seen > 0).sum())
        usable = within > 0
        squares = (means[:, None, usable] - means[None, :, usable]) ** 2 / within[usable]
        by_chance = 1 / seen[:, None] + 1 / seen[None]
        apart = squares.mean(axis=2) if usable.any() else np.full((sites, sites), np.nan)
        found: NDArray[np.float64] = np.sqrt(np.maximum(apart - by_chance, 0.0))
    found[(seen < 2)[:, None] | (seen < 2)[None]] = np.nan
    np.fill_diagonal(found, 0.0)
    return found


def picture_traits(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return seven numbers of a picture: mean and spread of each colour, and sharpness.

    Args:
        picture: Shape ``(height, width, 3)``.
    """
    step = max(1, min(picture.shape[:2]) // _SHRUNK)
    small = picture[::step, ::step].astype(np.float64)
    grey = small.mean(axis=2)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1)]
    sharp = float(np.mean([one.mean() if one.size else 0.0 for one in steps]))
    return np.array([*small.mean(axis=(0, 1)), *small.std(axis=(0, 1)), sharp])
