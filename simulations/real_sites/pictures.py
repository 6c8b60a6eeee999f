"""Pictures for sites that have none: each gets a rendered hospital's, as folders of PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fedtl.data.hospitals import HospitalsOptions, SiteShift, hospitals_dataset

_FEWEST = 4


def write_hospitals(root: Path, sites: int, pictures: int) -> dict[str, Path]:
    """Write a folder of ``class/file`` for each site; return them by name.

    Classes with fewer than four pictures at a site are left out everywhere, since all sites must
    have the same classes.
    """
    options = HospitalsOptions(
        images=sites * pictures, test_images=0, sites=sites, size=64, shift=SiteShift()
    )
    dataset = hospitals_dataset(0, options)
    assert dataset.sites is not None and not isinstance(dataset.inputs, np.ndarray)
    names, site = np.unique(dataset.sites, return_inverse=True)
    held = np.zeros((len(names), len(dataset.classes)), np.int64)
    np.add.at(held, (site, dataset.labels), 1)
    kept = held.min(axis=0) >= _FEWEST
    for row in np.flatnonzero(kept[dataset.labels]):
        folder = root / names[site[row]] / dataset.classes[dataset.labels[row]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.inputs.load(int(row))).save(folder / f"{row:05d}.png")
    return {str(name): root / str(name) for name in names}
