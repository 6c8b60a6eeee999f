"""The rendered data set: which picture shows what, where it was taken, and its pixels on demand."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.hospitals.cell_types import CELL_TYPES
from fedtl.data.hospitals.draws import Draws
from fedtl.data.hospitals.names import hospital_names
from fedtl.data.hospitals.optics import photograph
from fedtl.data.hospitals.options import HospitalsOptions
from fedtl.data.hospitals.painting import dye_amounts
from fedtl.data.hospitals.sites import draw_case_mix, draw_sites
from fedtl.determinism import generator

# Part of every picture's digest: raise it with any change that alters a pixel.
RENDERER_VERSION = 3

# Pixels of the pictures rendered together: enough that most of the time is numpy's own, and not so
# many that a batch's planes, a dozen in single precision, fall out of the caches.
_BATCH_PIXELS = 2**17

# Test pictures have streams of their own, far from any training picture's, so that the test split
# is the same whatever the number of training pictures.
_TEST_STREAM = 1 << 40


class HospitalImages:
    """Pictures rendered when they are asked for; the same seed and options give the same pixels.

    Args:
        seed: The run's seed.
        options: Size and site shift.
        cells: Kind of white cell that each picture shows, shape ``(N,)``.
        sites: Hospital of each picture, shape ``(N,)``.
        streams: Number that names each picture's random numbers, shape ``(N,)``.
    """

    def __init__(
        self,
        seed: int,
        options: HospitalsOptions,
        cells: NDArray[np.int64],
        sites: NDArray[np.int64],
        streams: NDArray[np.int64],
    ) -> None:
        self._seed = seed
        self._options = options
        self._cells = cells
        self._site_of = sites
        self._streams = streams
        self._sites = draw_sites(seed, options.sites, options.shift)
        self._pixel_shift = tuple(
            (effect, float(strength))
            for effect, strength in asdict(options.shift).items()
            # What a site sees more of is told by the cells; it alters no pixel of any.
            if effect != "prevalence"
        )

    def __len__(self) -> int:
        return len(self._cells)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the picture's recipe: all that its pixels are computed from."""
        recipe = (
            "fedtl hospitals",
            RENDERER_VERSION,
            self._seed,
            int(self._streams[index]),
            int(self._cells[index]),
            int(self._site_of[index]),
            self._options.size,
            self._pixel_shift,
        )
        return hashlib.sha256(repr(recipe).encode()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return picture ``index``, shape ``(size, size, 3)``."""
        picture: NDArray[np.uint8] = self.load_batch(np.array([index], dtype=np.int64))[0]
        return picture

    def load_batch(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pictures at ``indices``, shape ``(n, size, size, 3)``.

        Faster than one by one; a picture's pixels do not depend on what it is rendered with.
        """
        size = self._options.size
        pictures = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        # By site: neighbours of about the same focus share a kernel's width.
        by_site = np.argsort(self._site_of[indices], kind="stable")
        batch = max(1, _BATCH_PIXELS // size**2)
        for start in range(0, len(indices), batch):
            chosen = by_site[start : start + batch]
            part = indices[chosen]
            draws = Draws(self._seed, self._streams[part])
            site = self._site_of[part]
            magnification = self._sites.magnification[site]
            dyes = dye_amounts(draws, self._cells[part], magnification, size)
            pictures[chosen] = photograph(draws, dyes, self._sites, site)
        return pictures


def hospitals_dataset(seed: int, options: HospitalsOptions) -> Dataset:
    """Return blood-smear pictures of several hospitals, eight kinds of white cell.

    Training pictures come first. Neither split depends on the size of the other, and a larger
    split begins with the smaller one. A picture's key names the cell that it shows, which with
    ``label_noise`` need not be its label; labels of the test split are always right.
    """
    mix = draw_case_mix(seed, options.sites, options.shift.prevalence)
    cells, sites = [], []
    for split, count in (("train", options.images), ("test", options.test_images)):
        site = np.searchsorted(mix.volume, generator(seed, f"hospital {split} sites").random(count))
        draw = generator(seed, f"hospital {split} classes").random(count)
        cells.append((draw[:, None] >= mix.prevalence[site]).sum(axis=1))
        sites.append(site)
    cell, site = np.concatenate(cells), np.concatenate(sites)
    streams = np.concatenate(
        [np.arange(options.images), _TEST_STREAM + np.arange(options.test_images)]
    )
    names = np.array(hospital_names(options.sites))
    classes = tuple(CELL_TYPES)
    return Dataset(
        name="hospitals",
        classes=classes,
        labels=np.concatenate([_noisy(seed, cells[0], options.label_noise), cells[1]]),
        inputs=HospitalImages(seed, options, cell, site, streams),
        test=np.arange(len(cell)) >= options.images,
        sites=names[site],
        keys=[
            f"{names[s]}/{classes[c]}/{i}" for i, (s, c) in enumerate(zip(site, cell, strict=True))
        ],
    )


def _noisy(seed: int, cells: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """Return labels of which a fraction ``rate`` names another cell type, each as likely.

    What is wrong at one rate is wrong, and in the same way, at every higher one.
    """
    count = len(CELL_TYPES)
    # Two numbers a picture, in order: a picture's own do not depend on how many follow.
    draws = generator(seed, "hospital label noise").random((len(cells), 2))
    other = (cells + 1 + (draws[:, 1] * (count - 1)).astype(np.int64)) % count
    return np.where(draws[:, 0] < rate, other, cells)
