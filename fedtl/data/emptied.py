"""Which classes, sites and splits have only files that are not read, and what is told of that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.left_aside import EMPTY_FOLDER, HIDDEN, told
from fedtl.data.split_names import split_role

_DOCUMENTS = frozenset({".txt", ".csv", ".tsv", ".md", ".json", ".xml", ".pdf", ".xlsx", ".docx"})


def note_of(dataset: Dataset, *, named: bool = True) -> str:
    """Return what to tell the user about files that a data set leaves aside; empty if none.

    Args:
        dataset: The data, unreadable pictures included.
        named: Whether sites may be named.
    """
    untold = [one for one in dataset.left_aside if not one.told]
    lost = emptied(dataset) if untold else []
    if not named:
        sites = [one for one in lost if one.startswith("site ")]
        lost = [one for one in lost if one not in sites]
        lost += ["1 site" if len(sites) == 1 else f"{len(sites):,} sites"] if sites else []
    return told(untold, lost)


def emptied(dataset: Dataset) -> list[str]:
    """Return the classes and sites all of whose files are left aside.

    They are not in the data set: ``class cross``, ``site bern``, ``split test``.
    """
    folders = [key.split("/")[:-1] for key in dataset.keys]
    if splits := _empty_splits(dataset):
        return [f"split {name}" for name in splits]
    classes = np.array(dataset.classes)[dataset.labels]
    found: list[str] = []
    for what, names in (("class", classes), ("site", dataset.sites)):
        level = None if names is None else _level(folders, names)
        if names is None or level is None:
            continue
        known = set(names.tolist())
        above = {tuple(folder[:level]) for folder in folders}
        for other in dataset.left_aside:
            parts = other.path.split("/")
            own = parts if other.kind == EMPTY_FOLDER else parts[:-1]
            if other.told or other.kind == HIDDEN or len(own) <= level or own[level] in known:
                continue
            # Beside the data may lie what is none of it, such as a folder of documents.
            site = what == "site" and other.kind not in _DOCUMENTS
            if site or (tuple(own[:level]) in above and what == "class"):
                known.add(own[level])
                found.append(f"{what} {own[level]}")
    return found


def _empty_splits(dataset: Dataset) -> list[str]:
    """Return the folders that are named like splits and hold no picture, and what is in them."""
    known = {
        tuple(parts[:level])
        for parts in map(_folders_of, _pictures(dataset))
        for level in range(len(parts) + 1)
    }
    found: list[str] = []
    for other in dataset.left_aside:
        parts = other.path.split("/") if other.kind == EMPTY_FOLDER else _folders_of(other.path)
        for level, name in enumerate(parts):
            inside = tuple(parts[:level]) in known and tuple(parts[: level + 1]) not in known
            if inside and split_role(name) and name not in found and other.kind != HIDDEN:
                found.append(name)
    return found


def _pictures(dataset: Dataset) -> list[str]:
    return [*dataset.keys, *(one.path for one in dataset.left_aside if one.told)]


def _folders_of(path: str) -> list[str]:
    return path.split("/")[:-1]


def _level(folders: Sequence[Sequence[str]], names: NDArray[np.str_]) -> int | None:
    """Return which level of the folders gives these names; ``None`` if none does."""
    for level in range(min(map(len, folders))):
        if all(folder[level] == name for folder, name in zip(folders, names, strict=True)):
            return level
    return None
