"""torchvision's classification data sets by name, downloaded by torchvision where needed."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.errors import FedtlError, UnreadableImageError, UsageError, first_line

_Arguments = Mapping[str, str | bool]
_BY_FLAG: tuple[tuple[_Arguments, bool], ...] = (({"train": True}, False), ({"train": False}, True))


def _by_name(*train: str, test: str) -> tuple[tuple[_Arguments, bool], ...]:
    return (*(({"split": name}, False) for name in train), ({"split": test}, True))


_UNSPLIT: tuple[tuple[_Arguments, bool], ...] = (({}, False),)

# How each constructor is asked for its parts, and whether a part is the test split.
_PARTS: dict[str, tuple[tuple[_Arguments, bool], ...]] = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "CLEVRClassification": _by_name("train", test="val"),
    "Caltech101": _UNSPLIT,
    "Caltech256": _UNSPLIT,
    "Country211": _by_name("train", "valid", test="test"),
    "DTD": _by_name("train", "val", test="test"),
    "EMNIST": (
        ({"split": "balanced", "train": True}, False),
        ({"split": "balanced", "train": False}, True),
    ),
    "EuroSAT": _UNSPLIT,
    "FGVCAircraft": _by_name("trainval", test="test"),
    "FashionMNIST": _BY_FLAG,
    "Flowers102": _by_name("train", "val", test="test"),
    "Food101": _by_name("train", test="test"),
    "GTSRB": _by_name("train", test="test"),
    "Imagenette": _by_name("train", test="val"),
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": _by_name("trainval", test="test"),
    "PCAM": _by_name("train", "val", test="test"),
    "RenderedSST2": _by_name("train", "val", test="test"),
    "SEMEION": _UNSPLIT,
    "STL10": _by_name("train", test="test"),
    "SUN397": _UNSPLIT,
    "SVHN": _by_name("train", test="test"),
    "USPS": _BY_FLAG,
}

# Where torchvision's data sets keep their labels; reading them spares decoding every picture.
_LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")


class _Pictures(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, Any]: ...


class TorchvisionImages:
    """The pictures of one or more torchvision data sets, one after the other."""

    def __init__(self, parts: Sequence[_Pictures]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the picture's shape and pixels."""
        picture = self.load(index)
        return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the picture, shape ``(height, width, 3)``."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        source = self._parts[part]
        try:
            picture, _ = source[index - int(self._ends[part]) + len(source)]
            return np.array(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(first_line(error)) from error


def torchvision_set(name: str, root: Path) -> Dataset:
    """Return a torchvision classification data set, with its own classes and test split.

    Validation splits join the training split; a data set without a test split has none here.

    Args:
        name: torchvision's class name, for example ``CIFAR10``.
        root: Folder that torchvision downloads into; what is there already is used.

    Raises:
        UsageError: There is no such classification data set.
        FedtlError: The data set cannot be downloaded, or what is under ``root`` is damaged.
    """
    if name not in _PARTS:
        folded = {known.lower(): known for known in _PARTS}
        close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0)[0]
        raise UsageError(
            f"torchvision:{name} is not a classification data set that torchvision can download; "
            f"did you mean torchvision:{folded[close]}?"
        )
    from torchvision import datasets

    parts = []
    for arguments, _ in _PARTS[name]:
        try:
            root.mkdir(parents=True, exist_ok=True)
            parts.append(getattr(datasets, name)(root=str(root), download=True, **arguments))
        # Each data set fails in its own way: URLError, RuntimeError, a missing reader package.
        except Exception as error:
            raise FedtlError(
                f"torchvision:{name} could not be downloaded into {root} ({first_line(error)}); "
                "check the network, or put the files there yourself"
            ) from error
    labels = [_labels(part) for part in parts]
    label = np.concatenate(labels)
    return Dataset(
        name=name,
        classes=_class_names(parts[0], int(label.max()) + 1),
        labels=label,
        inputs=TorchvisionImages(parts),
        test=np.concatenate(
            [np.full(len(part), test) for part, (_, test) in zip(labels, _PARTS[name], strict=True)]
        ),
        sites=None,
        keys=[str(row) for row in range(len(label))],
    )


def _labels(part: _Pictures) -> NDArray[np.int64]:
    for attribute in _LABEL_ATTRIBUTES:
        labels = getattr(part, attribute, None)
        if labels is not None and len(labels) == len(part):
            return np.asarray(labels).astype(np.int64)
    return np.array([int(part[row][1]) for row in range(len(part))], dtype=np.int64)


def _class_names(part: _Pictures, count: int) -> tuple[str, ...]:
    names = getattr(part, "classes", None)
    if names is None or len(names) < count:
        return tuple(str(k) for k in range(count))
    return tuple(str(name) for name in names)
