"""Precomputed features from a .npz file: for those who already hold embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.npz_file import read_npz
from fedtl.errors import UsageError

_ROWS_AT_ONCE = 65_536


def features_file(path: Path) -> Dataset:
    """Return the rows of a .npz file.

    Its arrays: ``x``, shape ``(N, d)``, numbers; ``y``, shape ``(N,)``, class numbers from 0 or
    class names; optionally ``classes``, shape ``(C,)``, the names of the numbers in ``y``;
    ``site``, shape ``(N,)``; ``group``, shape ``(N,)``, names or numbers of what rows belong
    together; ``test``, shape ``(N,)``, bool.

    Raises:
        UsageError: An array is missing, has another shape or type, or ``x`` is not finite.
    """
    arrays = read_npz(path, ("x", "y", "classes", "site", "group", "test"))
    for name in ("x", "y"):
        if name not in arrays:
            raise UsageError(f"{path} has no array {name}; expected x (N by d) and y (N)")
    features = _features(path, arrays["x"])
    for name in ("y", "site", "group", "test"):
        if name in arrays and arrays[name].shape != (len(features),):
            raise UsageError(
                f"{path}: {name} has shape {arrays[name].shape}, but x has {len(features)} rows, "
                f"so ({len(features)},) is expected"
            )
    classes, labels = _labels(path, arrays["y"], arrays.get("classes"))
    test = arrays.get("test", np.zeros(len(labels), dtype=np.bool_))
    if test.dtype != np.bool_:
        raise UsageError(f"{path}: test has type {test.dtype}, but must be bool")
    return Dataset(
        name=path.stem,
        classes=classes,
        labels=labels,
        inputs=features,
        test=test,
        sites=arrays["site"].astype(np.str_) if "site" in arrays else None,
        keys=[str(row) for row in range(len(labels))],
        groups=arrays["group"].astype(np.str_) if "group" in arrays else None,
    )


def _features(path: Path, x: NDArray[Any]) -> NDArray[np.float32]:
    if x.ndim != 2 or 0 in x.shape:
        raise UsageError(f"{path}: x has shape {x.shape}, but must be N by d, neither of them 0")
    if x.dtype.kind not in "fiu":
        raise UsageError(f"{path}: x has type {x.dtype}, but must hold real numbers")
    # A number beyond float32 becomes infinite here and is refused below like any other.
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(x, dtype=np.float32)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        finite = np.isfinite(features[start : start + _ROWS_AT_ONCE]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise UsageError(
                f"{path}: row {row} of x (counting from 0) has a value that is NaN, infinite or "
                "beyond float32; remove the row or repair it"
            )
    return features


def _labels(
    path: Path, y: NDArray[Any], names: NDArray[Any] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if y.dtype.kind not in "iuUS":
        raise UsageError(f"{path}: y has type {y.dtype}, but must hold class numbers or names")
    if names is None:
        classes, labels = np.unique(y, return_inverse=True)
        return tuple(str(name) for name in classes.astype(np.str_)), labels.astype(np.int64)
    if names.ndim != 1 or names.dtype.kind not in "US" or len(np.unique(names)) < len(names):
        raise UsageError(f"{path}: classes must be a list of different names")
    if y.dtype.kind not in "iu":
        raise UsageError(f"{path}: with classes given, y must hold class numbers, not names")
    wrong = (y < 0) | (y >= len(names))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UsageError(
            f"{path}: row {row} of y (counting from 0) is {y[row]}, but there are {len(names)} "
            f"classes, numbered from 0 to {len(names) - 1}"
        )
    return tuple(str(name) for name in names.astype(np.str_)), y.astype(np.int64)
