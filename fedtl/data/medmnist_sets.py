"""MedMNIST's two-dimensional, single-label data sets, from the user's .npz or the package."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.npz_file import read_npz
from fedtl.data.sources.base import ArrayImages
from fedtl.errors import FedtlError, UsageError, first_line

_MOST_CLASSES = 65_536
_SPLITS = ("train", "val", "test")


def medmnist_set(source: str) -> Dataset:
    """Return a MedMNIST data set; its validation pictures join the training pictures.

    Args:
        source: Path of a .npz with MedMNIST's arrays (``train_images``, ``train_labels``, and the
            same for ``val`` and ``test``; without test arrays the validation pictures are the
            test split), or a name such as ``bloodmnist`` for the ``medmnist`` package to fetch.

    Raises:
        UsageError: The file is no such .npz, the name is unknown, the package is missing, or the
            data set is three-dimensional or has several labels per picture.
        FedtlError: The package cannot fetch the data set.
    """
    if source.endswith(".npz"):
        path = Path(source).expanduser()
        return _from_npz(path, None)
    return _from_package(source)


def _from_package(name: str) -> Dataset:
    try:
        import medmnist
    except ImportError:
        raise UsageError(
            f"medmnist:{name} needs the package medmnist (pip install 'fedtl[medmnist]'), or give "
            "the file: medmnist:path/to/NAME.npz"
        ) from None
    key = name.lower()
    if key not in medmnist.INFO:
        close = difflib.get_close_matches(key, medmnist.INFO, n=1, cutoff=0)[0]
        raise UsageError(f"MedMNIST has no data set {name}; did you mean medmnist:{close}?")
    info = medmnist.INFO[key]
    try:
        fetched = getattr(medmnist, info["python_class"])(split="train", download=True)
    # The package reports failed downloads as RuntimeError and others, from several layers.
    except Exception as error:
        raise FedtlError(
            f"medmnist:{name} could not be fetched ({first_line(error)}); download it "
            "elsewhere and give the file: medmnist:path/to/NAME.npz"
        ) from error
    names = tuple(info["label"][str(k)] for k in range(len(info["label"])))
    return _from_npz(Path(fetched.root) / f"{key}.npz", names)


def _from_npz(path: Path, names: tuple[str, ...] | None) -> Dataset:
    arrays = read_npz(path, [f"{s}_{kind}" for s in _SPLITS for kind in ("images", "labels")])
    if "train_images" not in arrays:
        raise UsageError(f"{path} has no array train_images, so it is not a MedMNIST file")
    present = [split for split in _SPLITS if f"{split}_images" in arrays]
    pixels, labels, test = [], [], []
    held_out = "test" if "test" in present else "val"
    for split in present:
        images = _images(path, f"{split}_images", arrays)
        labels.append(_labels(path, f"{split}_labels", arrays, len(images)))
        pixels.append(images)
        test.append(np.full(len(images), split == held_out))
    if len({images.shape[1:] for images in pixels}) > 1:
        raise UsageError(f"{path}: the splits hold pictures of different shapes")
    label = np.concatenate(labels)
    if label.min() < 0:
        raise UsageError(f"{path}: class numbers must not be negative, but one is {label.min()}")
    if label.max() >= _MOST_CLASSES:
        raise UsageError(
            f"{path}: class numbers must be below {_MOST_CLASSES:,}, but one is {label.max()}"
        )
    if names is None:
        names = tuple(str(k) for k in range(int(label.max()) + 1))
    return Dataset(
        name=path.stem,
        classes=names,
        labels=label,
        inputs=ArrayImages(np.concatenate(pixels)),
        test=np.concatenate(test),
        sites=None,
        keys=[
            f"{s}/{row}"
            for s, part in zip(present, labels, strict=True)
            for row in range(len(part))
        ],
    )


def _images(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    images = arrays[name]
    flat = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not flat or 0 in images.shape[1:]:
        raise UsageError(
            f"{path}: {name} has shape {images.shape} and type {images.dtype}, but 8-bit pictures "
            "of shape (N, height, width) or (N, height, width, 3) are expected"
        )
    return images


def _labels(
    path: Path, name: str, arrays: dict[str, NDArray[Any]], count: int
) -> NDArray[np.int64]:
    if name not in arrays:
        raise UsageError(f"{path} has no array {name}, so it is not a MedMNIST file")
    labels = arrays[name]
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise UsageError(
            f"{path} has {labels.shape[1]} labels per picture; only single-label data "
            "sets can be used"
        )
    if labels.size != count or labels.dtype.kind not in "iu":
        raise UsageError(
            f"{path}: {name} has shape {labels.shape} and type {labels.dtype}, but one class "
            f"number for each of {count} pictures is expected"
        )
    return labels.reshape(-1).astype(np.int64)
