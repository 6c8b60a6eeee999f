"""The rendered data set: which picture shows what, where it was taken, and its pixels on demand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.hospitals.cell_types import CELL_TYPES
from fedtl.data.hospitals.draws import Draws
from fedtl.data.hospitals.optics import draw_sites, photograph
from fedtl.data.hospitals.painting import dye_amounts
from fedtl.determinism import generator
from fedtl.errors import UsageError

# Part of every picture's digest: raise it with any change that alters a pixel.
RENDERER_VERSION = 1

# Small enough that a batch's intermediate planes stay in a core's cache.
_BATCH = 16

# Test pictures have streams of their own, far from any training picture's, so that the test split
# is the same whatever the number of training pictures.
_TEST_STREAM = 1 << 40

_LIMITS = {
    "images": (16, 10_000_000),
    "test_images": (0, 10_000_000),
    "sites": (1, 10_000),
    "size": (16, 1024),
    "shift": (0, 4),
}


@dataclass(frozen=True)
class HospitalsOptions:
    """Size and difficulty of the rendered data set.

    Attributes:
        images: Number of training pictures.
        test_images: Number of test pictures; they come from all sites.
        sites: Number of hospitals.
        size: Width and height in pixels.
        shift: How far sites differ in stain, optics and case mix: 0 not at all, 1 as hospitals do.

    Raises:
        UsageError: A value is out of range.
    """

    images: int = 4000
    test_images: int = 1000
    sites: int = 5
    size: int = 64
    shift: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = _LIMITS[field.name]
            if not low <= value <= high:
                name = field.name.replace("_", "-")
                raise UsageError(f"hospitals: {name} is {value}, but must be from {low} to {high}")


class HospitalImages:
    """Pictures rendered when they are asked for; the same seed and options give the same pixels.

    Args:
        seed: The run's seed.
        options: Size and site shift.
        labels: Kind of white cell in each picture, shape ``(N,)``.
        sites: Hospital of each picture, shape ``(N,)``.
        streams: Number that names each picture's random numbers, shape ``(N,)``.
    """

    def __init__(
        self,
        seed: int,
        options: HospitalsOptions,
        labels: NDArray[np.int64],
        sites: NDArray[np.int64],
        streams: NDArray[np.int64],
    ) -> None:
        self._seed = seed
        self._options = options
        self._labels = labels
        self._site_of = sites
        self._streams = streams
        self._sites = draw_sites(seed, options.sites, options.shift)

    def __len__(self) -> int:
        return len(self._labels)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the picture's recipe: all that its pixels are computed from."""
        recipe = (
            "fedtl hospitals",
            RENDERER_VERSION,
            self._seed,
            int(self._streams[index]),
            int(self._labels[index]),
            int(self._site_of[index]),
            self._options.size,
            float(self._options.shift),
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
        for start in range(0, len(indices), _BATCH):
            part = indices[start : start + _BATCH]
            draws = Draws(self._seed, self._streams[part])
            site = self._site_of[part]
            magnification = self._sites.magnification[site]
            dyes = dye_amounts(draws, self._labels[part], magnification, size)
            pictures[start : start + _BATCH] = photograph(draws, dyes, self._sites, site)
        return pictures


def hospitals_dataset(seed: int, options: HospitalsOptions) -> Dataset:
    """Return blood-smear pictures of several hospitals, eight kinds of white cell.

    Training pictures come first. Neither split depends on the size of the other, and a larger
    split begins with the smaller one.
    """
    prevalence = _prevalence(seed, options)
    share = np.stack([generator(seed, "hospital share", s).random(1) for s in range(options.sites)])
    volume = np.cumsum(1 + options.shift * 0.5 * (share[:, 0] - 0.5))
    volume /= volume[-1]

    labels, sites = [], []
    for split, count in (("train", options.images), ("test", options.test_images)):
        site = np.searchsorted(volume, generator(seed, f"hospital {split} sites").random(count))
        draw = generator(seed, f"hospital {split} classes").random(count)
        labels.append((draw[:, None] >= prevalence[site]).sum(axis=1))
        sites.append(site)
    label, site = np.concatenate(labels), np.concatenate(sites)
    streams = np.concatenate(
        [np.arange(options.images), _TEST_STREAM + np.arange(options.test_images)]
    )
    digits = len(str(options.sites))
    names = np.array([f"hospital-{s + 1:0{digits}d}" for s in range(options.sites)])
    classes = tuple(CELL_TYPES)
    return Dataset(
        name="hospitals",
        classes=classes,
        labels=label,
        inputs=HospitalImages(seed, options, label, site, streams),
        test=np.arange(len(label)) >= options.images,
        sites=names[site],
        keys=[
            f"{names[s]}/{classes[c]}/{i}" for i, (s, c) in enumerate(zip(site, label, strict=True))
        ],
    )


def _prevalence(seed: int, options: HospitalsOptions) -> NDArray[np.float64]:
    """Return each site's cumulative class frequencies, but the last, shape ``(sites, C - 1)``."""
    nominal = np.array([cell.prevalence for cell in CELL_TYPES.values()])
    mix = np.stack(
        [
            generator(seed, "hospital case mix", site).standard_normal(len(nominal))
            for site in range(options.sites)
        ]
    )
    frequency = nominal * np.exp(0.35 * options.shift * mix)
    return np.cumsum(frequency / frequency.sum(axis=1, keepdims=True), axis=1)[:, :-1]
