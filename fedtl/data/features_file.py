"""Precomputed features from a file: for those who already hold embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.feature_arrays import read_arrays
from fedtl.data.npz_file import as_names, in_one_row, whole_numbers
from fedtl.errors import UsageError

_ROWS_AT_ONCE = 65_536
_GAPS = ("", "nan", "NaN", "NAN", "NaT", "<NA>")


def features_file(path: Path) -> Dataset:
    """Return the rows of a .npz file, or of a Parquet file whose columns are its arrays.

    Its arrays: ``x``, shape ``(N, d)``, numbers; ``y``, shape ``(N,)``, class numbers from 0 or
    class names, or shape ``(N, C)``, one-hot; optionally ``classes``, shape ``(C,)``, the names of
    the numbers in ``y``; ``site``, shape ``(N,)``; ``group``, shape ``(N,)``, names or numbers of
    what rows belong together; ``test``, shape ``(N,)``, bool.

    Arrays of shape ``(N, 1)`` are taken as ``(N,)``, whole numbers of floating type as integers,
    and bytes as text in UTF-8, or else Latin-1. Other common names of the arrays are understood,
    as are ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Raises:
        UsageError: An array is missing, has another shape or type, or ``x`` is not finite.
    """
    arrays, notes = read_arrays(path)
    features = _features(path, arrays["x"])
    for name in ("y", "site", "group", "test"):
        if name not in arrays:
            continue
        arrays[name] = in_one_row(arrays[name])
        if arrays[name].shape == (1, len(features)):
            arrays[name] = arrays[name][0]  # as MATLAB has vectors
        one_hot = name == "y" and arrays[name].ndim == 2
        if arrays[name].shape[:1] != features.shape[:1] or not (arrays[name].ndim == 1 or one_hot):
            turned = len(arrays[name]) == features.shape[1] and arrays[name].ndim == 1
            raise UsageError(
                f"{path}: {name} has shape {arrays[name].shape}, but x has {len(features)} rows, "
                f"so ({len(features)},) is expected" + ("; transpose x: x.T" if turned else "")
            )
    classes, labels = _labels(path, arrays["y"], arrays.get("classes"))
    named = {name: as_names(arrays[name]) for name in ("site", "group") if name in arrays}
    for name, values in named.items():
        _check_named(path, name, values)
    if len(classes) > 2 and classes[0] == "-1" and "0" in classes:
        notes.append(
            "label -1 is taken as a class like the others; leave its rows out if it stands for "
            "no label"
        )
    return Dataset(
        name=path.stem,
        classes=classes,
        labels=labels,
        inputs=features,
        test=_test(path, arrays.get("test"), len(labels)),
        sites=named.get("site"),
        keys=[str(row) for row in range(len(labels))],
        groups=named.get("group"),
        notes=tuple(notes),
    )


def _features(path: Path, x: NDArray[Any]) -> NDArray[np.float32]:
    if x.ndim > 2 and x.size and x.size == x.shape[0] * max(x.shape[1:]):
        x = x.reshape(len(x), -1)  # pooled maps of one pixel, (N, d, 1, 1)
    if x.ndim != 2 or 0 in x.shape:
        flat = "; flatten it: x.reshape(len(x), -1)" if x.ndim > 2 and x.size else ""
        raise UsageError(
            f"{path}: x has shape {x.shape}, but must be N by d, neither of them 0{flat}"
        )
    if x.dtype.kind not in "fiub":
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
    y = _plain_labels(path, y)
    _check_named(path, "y", y)
    if names is None:
        classes, labels = np.unique(y, return_inverse=True)
        return tuple(str(name) for name in classes.astype(np.str_)), labels.astype(np.int64)
    names = as_names(in_one_row(names)) if names.dtype.kind in "SUiu" else names
    if y.dtype.kind == "U" and names.dtype.kind == "U" and np.isin(y, names).all():
        order = {str(name): number for number, name in enumerate(names.ravel())}
        y = np.array([order[str(name)] for name in y], np.int64)
    if names.ndim != 1 or names.dtype.kind != "U" or len(np.unique(names)) < len(names):
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
    return tuple(str(name) for name in names), y.astype(np.int64)


def _check_named(path: Path, name: str, values: NDArray[Any]) -> None:
    """Refuse rows whose name says that there is none, as tables are saved with gaps."""
    if values.dtype.kind != "U":
        return
    gaps = np.isin(np.char.strip(values), _GAPS)
    if gaps.any():
        raise UsageError(
            f"{path}: {int(gaps.sum()):,} of {len(values):,} rows of {name} are empty or nan, "
            f"first row {int(np.argmax(gaps))} (counting from 0); fill them in or leave the rows "
            "out"
        )


def _plain_labels(path: Path, y: NDArray[Any]) -> NDArray[Any]:
    """Return labels as integers or names, shape ``(N,)``."""
    if y.ndim == 2:
        values = np.isin(y, (0, 1)).all() if y.dtype.kind in "biuf" else False
        if not values or not (y.astype(np.int64).sum(axis=1) == 1).all():
            raise UsageError(
                f"{path}: y has shape {y.shape}, but is not one-hot (a single 1 in each row, all "
                "else 0); one label per row is expected"
            )
        hot: NDArray[np.int64] = np.argmax(y, axis=1).astype(np.int64)
        return hot
    if y.dtype.kind in "SUb":
        return as_names(y)
    if y.dtype.kind == "f":
        whole = whole_numbers(y)
        if whole is None:
            row = int(np.argmax(~np.isfinite(y) | (y != np.rint(y))))
            raise UsageError(
                f"{path}: row {row} of y (counting from 0) is {y[row]}, but y must hold class "
                "numbers or names"
            )
        return whole
    if y.dtype.kind not in "iu":
        raise UsageError(f"{path}: y has type {y.dtype}, but must hold class numbers or names")
    return y


def _test(path: Path, test: NDArray[Any] | None, count: int) -> NDArray[np.bool_]:
    if test is None:
        return np.zeros(count, dtype=np.bool_)
    if test.dtype.kind not in "biuf" or not np.isin(test, (0, 1)).all():
        raise UsageError(f"{path}: test has type {test.dtype}, but must be bool, or 0 and 1")
    return test.astype(np.bool_)
