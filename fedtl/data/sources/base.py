"""What a data source is: it opens one labelled data set."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedtl.data.dataset import Dataset, Images
from fedtl.errors import UsageError
from fedtl.options import Options

if TYPE_CHECKING:
    from fedtl.config import RunConfig


class Source(ABC):
    """One source of data: a subclass writes :meth:`open`.

    Args:
        config: The run; the options of this class count, and ``inputs_seed`` if data is drawn.
        argument: What stands after the colon of ``data = name:ARGUMENT``; may be empty.
    """

    options = Options()

    def __init__(self, config: RunConfig, argument: str = "") -> None:
        self.config = config
        self.argument = argument

    @abstractmethod
    def open(self) -> Dataset:
        """Return the data set; pictures need not be decoded yet. See :func:`labelled`.

        Raises:
            UsageError: There is no such data, or it cannot be used as it is.
            FedtlError: A download failed.
        """


class ArrayImages:
    """Pictures held in memory.

    Args:
        pixels: Shape ``(N, height, width)`` for grey or ``(N, height, width, 3)`` for RGB.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the stored picture's shape and pixels."""
        picture = self._pixels[index]
        return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the picture, shape ``(height, width, 3)``."""
        picture = self._pixels[index]
        return np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture.copy()


def labelled(
    name: str,
    inputs: NDArray[Any] | Images,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    sites: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    test: ArrayLike | None = None,
    keys: Sequence[str] = (),
) -> Dataset:
    """Return a data set of arrays, checked.

    Args:
        name: For messages and the report.
        inputs: Pictures, shape ``(N, height, width)`` or ``(N, height, width, 3)``, uint8; or
            features, shape ``(N, d)``, of real numbers; or pictures that are read one by one.
        labels: Shape ``(N,)``; whole numbers that index into ``classes``.
        classes: Their names.
        sites: Shape ``(N,)``; where each input was acquired, if that is known.
        groups: Shape ``(N,)``; which inputs belong together, such as a patient's.
        test: Shape ``(N,)``, bool; which inputs are a test split, if the data has one.
        keys: A stable name of each input; by default its number.

    Raises:
        UsageError: Shapes, types or numbers do not fit together.
    """
    count = len(inputs)
    if isinstance(inputs, np.ndarray):
        inputs = _inputs(name, inputs)
    numbers = _of_each(name, "labels", labels, count)
    if numbers.dtype.kind not in "iu" or not ((numbers >= 0) & (numbers < len(classes))).all():
        raise UsageError(
            f"{name}: labels must be whole numbers from 0 to {len(classes) - 1}, as there are "
            f"{len(classes)} classes"
        )
    tested = np.zeros(count) if test is None else _of_each(name, "test", test, count)
    if keys and len(keys) != count:
        raise UsageError(f"{name}: there are {count} inputs, but {len(keys)} keys")
    return Dataset(
        name=name,
        classes=tuple(map(str, classes)),
        labels=numbers.astype(np.int64),
        inputs=inputs,
        test=tested.astype(np.bool_),
        sites=None if sites is None else _of_each(name, "sites", sites, count).astype(str),
        keys=[str(key) for key in keys] or [str(row) for row in range(count)],
        groups=None if groups is None else _of_each(name, "groups", groups, count).astype(str),
    )


def _inputs(name: str, inputs: NDArray[Any]) -> Images | NDArray[np.float32]:
    if inputs.ndim == 2 and inputs.dtype.kind in "fiu" and inputs.shape[1]:
        features = inputs.astype(np.float32)
        if not np.isfinite(features).all():
            raise UsageError(f"{name}: features must be finite numbers")
        return features
    flat = inputs.ndim == 3 or (inputs.ndim == 4 and inputs.shape[3] == 3)
    if inputs.dtype == np.uint8 and flat and 0 not in inputs.shape[1:]:
        return ArrayImages(inputs)
    raise UsageError(
        f"{name}: inputs have shape {inputs.shape} and type {inputs.dtype}, but 8-bit pictures of "
        "shape (N, height, width) or (N, height, width, 3), or features of shape (N, d), are "
        "expected"
    )


def _of_each(name: str, what: str, values: ArrayLike, count: int) -> NDArray[Any]:
    found = np.asarray(values)
    if found.shape != (count,):
        raise UsageError(f"{name}: {what} have shape {found.shape}, but there are {count} inputs")
    return found
