"""Which arrays of a .npz file of features are which, by the names that people give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data import npz_file
from fedtl.data.npz_file import as_names, in_one_row
from fedtl.data.parquet_file import is_parquet, parquet_arrays
from fedtl.data.split_names import TEST, VALIDATION, split_role
from fedtl.errors import UsageError

# What files of features call their arrays, in lower case and without _, by what we call them.
_KNOWN_AS: Mapping[str, frozenset[str]] = {
    "x": frozenset(
        {"x", "features", "feature", "feats", "feat", "embeddings", "embedding", "embeds", "emb"}
        | {"embs", "vectors", "data", "representations", "activations", "imagefeatures"}
        | {"imagefeats", "imageembeddings", "imageembeds", "clipfeatures", "clipembeddings"}
    ),
    "y": frozenset(
        {"y", "labels", "label", "targets", "target", "ys", "classids", "classid", "classlabels"}
        | {"classlabel", "ytrue"}
    ),
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
    "split": frozenset({"split", "splits", "subset"}),
}
_PARTS = ("train", "val", "test")
# np.savez(file, x, y) names arrays by number.
_NUMBERED = {"x": "arr_0", "y": "arr_1"}


def array_names(path: Path) -> list[str]:
    """Return the names of a file's arrays, or of a Parquet file's columns.

    Raises:
        UsageError: The file cannot be read.
    """
    return list(_columns(path)) if is_parquet(path) else npz_file.array_names(path)


def _read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays that a file holds.

    Raises:
        UsageError: The file cannot be read.
    """
    if not is_parquet(path):
        return npz_file.read_npz(path, names)
    return {name: values for name, values in _columns(path).items() if name in names}


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    return parquet_arrays(path, sorted(frozenset.union(*_KNOWN_AS.values())))


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
            f"{path} has no array x; its arrays are {', '.join(names) or 'none'}, but embeddings "
            f"of shape (n, {width}) are expected."
        )
    return _read(path, [name])[name]


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the file's arrays by what we call them, and what to tell the user about that.

    ``x`` and ``y`` are among them; ``site``, ``group``, ``classes`` and ``test`` may be. Parts such
    as ``x_train`` and ``x_test`` are joined, and an array that names each row's split becomes
    ``test``. Shapes and types are not checked.

    Raises:
        UsageError: The file cannot be read, has no ``x`` or ``y``, or two that could be either.
    """
    names = array_names(path)
    whole = {own: found for own in _KNOWN_AS if (found := _called(path, names, own, where=""))}
    parts = {
        part: {
            own: found
            for own in ("x", "y", "site", "group")
            if (found := _called(path, names, own, where=part))
        }
        for part in _PARTS
    }
    parts = {part: called for part, called in parts.items() if {"x", "y"} <= called.keys()}
    if "x" in whole and "y" in whole:
        read = _read(path, list(whole.values()))
        arrays = {own: read[found] for own, found in whole.items()}
        taken, told = list(whole.values()), _understood(whole)
        if "split" in arrays:
            told += _test_of_split(path, arrays, whole)
    elif "train" in parts:
        classes = {"classes": whole["classes"]} if "classes" in whole else {}
        arrays, told = _joined(path, parts)
        arrays |= {own: _read(path, [found])[found] for own, found in classes.items()}
        taken = [found for called in (*parts.values(), classes) for found in called.values()]
    else:
        missing = "x" if "x" not in whole else "y"
        raise UsageError(
            f"{path} has no array {missing}; its arrays are {', '.join(names) or 'none'}, but x (N "
            "by d) and y (N) are expected: rename them"
        )
    if unused := [name for name in names if name not in taken]:
        told.append(f"not used: {', '.join(unused)}")
    return arrays, [f"{path.name}: {'; '.join(told)}"] if told else []


def _test_of_split(
    path: Path, arrays: dict[str, NDArray[Any]], called: Mapping[str, str]
) -> list[str]:
    """Put ``test`` in the place of ``split``, and return what to tell the user about it.

    Raises:
        UsageError: A row's split cannot be told from its name, or ``test`` is there already.
    """
    name, values = called["split"], as_names(in_one_row(arrays.pop("split")))
    roles = {value: split_role(value) for value in map(str, np.unique(values))}
    if "test" in arrays or not all(roles.values()):
        strange = ", ".join(value for value, role in roles.items() if not role)
        why = f"{strange}: no known split" if strange else f"{called['test']} says the same"
        raise UsageError(
            f"{path}: {name} is taken for each row's split ({why}); call them train, val and test, "
            "or leave the array out"
        )
    held = TEST if TEST in roles.values() else VALIDATION
    arrays["test"] = np.isin(values, [value for value, role in roles.items() if role == held])
    tested = ", ".join(value for value, role in roles.items() if role == held)
    return [f"{tested} of {name} is the test split"] if tested else []


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


def _understood(found: Mapping[str, str]) -> list[str]:
    other = [f"{name} as {own}" for own, name in found.items() if own not in (name, "split")]
    return [", ".join(other)] if other else []


def _joined(
    path: Path, parts: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of parts such as ``x_train`` and ``x_test`` as one, with ``test``."""
    read = _read(path, [name for own in parts.values() for name in own.values()])
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
    told = [", ".join(f"{part} {size:,}" for part, size in sizes.items()) + " rows"]
    if held := next((part for part in ("test", "val") if part in sizes), ""):
        joined["test"] = np.repeat([part == held for part in sizes], list(sizes.values()))
        told.append(f"{held} is the test split")
    return joined, told
