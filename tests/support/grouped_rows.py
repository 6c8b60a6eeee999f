"""A data set whose rows belong together in groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dealt_rows import dataset

from fedtl.data.dataset import Dataset


def grouped(seed: int, groups: int, classes: int, *, mixed: bool) -> Dataset:
    """Return data of groups of 1 to 9 rows at three sites, each group at one."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(groups), rng.integers(1, 10, groups)))
    own = np.arange(groups) % classes
    labels = rng.integers(0, classes, len(of)) if mixed else own[of]
    labels[:classes] = np.arange(classes) if mixed else labels[:classes]
    sites = np.array(["x", "y", "z"])[of % 3]
    return replace(dataset(labels, sites=sites), groups=np.array([f"p{g}" for g in of]))
