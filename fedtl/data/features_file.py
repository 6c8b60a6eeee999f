"""Precomputed features from a .npz file: for those who already hold embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.npz_file import array_names, as_names, in_one_row, read_npz, whole_numbers
from fedtl.errors import UsageError

_ROWS_AT_ONCE = 65_536
# What files of features call their arrays, in lower case and without _, by what we call them.
_KNOWN_AS: Mapping[str, frozenset[str]] = {
    "x": frozenset(
        {"x", "features", "feature", "feats", "feat", "embeddings", "embedding", "embeds", "emb"}
        | {"embs", "vectors", "data", "representations", "activations"}
    ),
    "y": frozenset({"y", "labels", "label", "targets", "target", "ys", "classids"}),
    "classes": frozenset({"classes", "classnames", "labelnames", "targetnames", "categories"}),
    "site": frozenset(
        {"site", "sites", "siteid", "siteids", "client", "clients", "clientid", "hospital"}
        | {"hospitals", "center", "centre", "institution", "domain", "domains"}
    ),
    "group": frozenset(
        {"group", "groups", "groupid", "groupids", "patient", "patients", "patientid"}
        | {"patientids", "subject", "subjects", "subjectid", "subjectids", "slide", "slides"}
        | {"slideid", "slideids"}
    ),
    "test": frozenset({"test", "istest", "testmask"}),
}
_PARTS = ("train", "val", "test")
# np.savez(file, x, y) names arrays by number.
_NUMBERED = {"x": "arr_0", "y": "arr_1"}


def features_file(path: Path) -> Dataset:
    """Return the rows of a .npz file.

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
    arrays, notes = _read(path)
    features = _features(path, arrays["x"])
    for name in ("y", "site", "group", "test"):
        if name not in arrays:
            continue
        arrays[name] = in_one_row(arrays[name])
        one_hot = name == "y" and arrays[name].ndim == 2
        if arrays[name].shape[:1] != features.shape[:1] or not (arrays[name].ndim == 1 or one_hot):
            raise UsageError(
                f"{path}: {name} has shape {arrays[name].shape}, but x has {len(features)} rows, "
                f"so ({len(features)},) is expected"
            )
    classes, labels = _labels(path, arrays["y"], arrays.get("classes"))
    return Dataset(
        name=path.stem,
        classes=classes,
        labels=labels,
        inputs=features,
        test=_test(path, arrays.get("test"), len(labels)),
        sites=as_names(arrays["site"]) if "site" in arrays else None,
        keys=[str(row) for row in range(len(labels))],
        groups=as_names(arrays["group"]) if "group" in arrays else None,
        notes=tuple(notes),
    )


def features_alone(path: Path, width: int) -> NDArray[Any]:
    """Return the array of features of a .npz file that need not have labels.

    Args:
        path: The file.
        width: How many features are expected, for messages.

    Raises:
        UsageError: The file cannot be read, or has none.
    """
    names = array_names(path)
    name = _called(path, names, "x", where="")
    if name is None:
        raise UsageError(
            f"{path} has no array x; its arrays are {', '.join(names) or 'none'}, and expected are "
            f"embeddings of shape (n, {width})."
        )
    return read_npz(path, [name])[name]


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the file's arrays by what we call them, and what is to be told of that."""
    names = array_names(path)
    whole = {own: found for own in _KNOWN_AS if (found := _called(path, names, own, where=""))}
    if "x" in whole and "y" in whole:
        read = read_npz(path, list(whole.values()))
        return {own: read[found] for own, found in whole.items()}, _understood(path, whole)
    parts = {
        part: {
            own: found
            for own in ("x", "y", "site", "group")
            if (found := _called(path, names, own, where=part))
        }
        for part in _PARTS
    }
    if all({"x", "y"} <= parts[part].keys() for part in ("train", "test")):
        return _joined(
            path, {part: own for part, own in parts.items() if "x" in own and "y" in own}
        )
    for own in ("x", "y"):
        if own not in whole:
            raise UsageError(
                f"{path} has no array {own}; its arrays are {', '.join(names) or 'none'}, and "
                "expected are x (N by d) and y (N): rename them"
            )
    raise AssertionError("one of x and y is missing")


def _called(path: Path, names: Sequence[str], own: str, *, where: str) -> str | None:
    """Return the file's name for an array of ours; ``None`` if it has none.

    Args:
        path: For messages.
        names: The file's arrays.
        own: What we call the array.
        where: A part of the data, ``train``, for which the array is looked for; empty for all.
    """
    if own in names and not where:
        return own
    plain = {name: name.lower().replace("_", "").replace("-", "") for name in names}
    wanted = {known + where for known in _KNOWN_AS[own]} | {
        where + known for known in _KNOWN_AS[own]
    }
    found = [name for name in names if plain[name] in wanted]
    if len(found) > 1:
        raise UsageError(
            f"{path}: {' and '.join(found)} could each be the array {own}; leave all but one out, "
            f"or name it {own}"
        )
    if found:
        return found[0]
    both = set(names) == set(_NUMBERED.values())
    return _NUMBERED[own] if both and own in _NUMBERED and not where else None


def _understood(path: Path, found: Mapping[str, str]) -> list[str]:
    other = [f"{name} as {own}" for own, name in found.items() if name != own]
    return [f"{path.name}: {', '.join(other)}"] if other else []


def _joined(
    path: Path, parts: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of parts such as ``x_train`` and ``x_test`` as one, with ``test``."""
    read = read_npz(path, [name for own in parts.values() for name in own.values()])
    shared = [
        own for own in ("x", "y", "site", "group") if all(own in part for part in parts.values())
    ]
    joined: dict[str, NDArray[Any]] = {}
    for own in shared:
        pieces = [
            in_one_row(read[part[own]]) if own != "x" else read[part[own]]
            for part in parts.values()
        ]
        try:
            joined[own] = np.concatenate(pieces)
        except ValueError:
            shapes = ", ".join(f"{part[own]} {read[part[own]].shape}" for part in parts.values())
            raise UsageError(f"{path}: {shapes} do not fit together") from None
    sizes = {part: len(read[own["x"]]) for part, own in parts.items()}
    for called in parts.values():
        rows, labels = (len(read[called[own]]) for own in ("x", "y"))
        if rows != labels:
            raise UsageError(
                f"{path}: {called['x']} has {rows} rows and {called['y']} {labels}; each row needs "
                "one label"
            )
    joined["test"] = np.repeat([part == "test" for part in sizes], list(sizes.values()))
    told = ", ".join(f"{part} {size:,}" for part, size in sizes.items())
    return joined, [f"{path.name}: {told} rows; test is the test split"]


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
    y = _plain_labels(path, y)
    if names is None:
        classes, labels = np.unique(y, return_inverse=True)
        return tuple(str(name) for name in classes.astype(np.str_)), labels.astype(np.int64)
    names = as_names(in_one_row(names)) if names.dtype.kind in "SU" else names
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
