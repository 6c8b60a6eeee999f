"""Files of a data set that are not read: counted by kind, and what classes or sites they empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.data.image_formats import content_kind, picture_suffixes, remedy_of, suffix_of
from fedtl.data.split_names import split_role

if TYPE_CHECKING:
    from fedtl.data.dataset import Dataset

HIDDEN = "hidden"
NO_SUFFIX = "without suffix"
EMPTY_FOLDER = "empty folder"

# What systems put beside a user's files, and nobody means by data.
_OF_SYSTEMS = frozenset({".ds_store", "thumbs.db", "desktop.ini", "icon\r", "__macosx"})
_DOCUMENTS = frozenset({".txt", ".csv", ".tsv", ".md", ".json", ".xml", ".pdf", ".xlsx", ".docx"})
_FIRST_NAMED = 3


@dataclass(frozen=True)
class LeftAside:
    """A file, or an empty folder, that no picture was read from.

    Attributes:
        path: Relative, with slashes.
        kind: A suffix such as ``.heic``, ``hidden``, ``without suffix`` or ``empty folder``, or
            what else it is.
        told: Whether a note of the data tells of it already.
    """

    path: str
    kind: str
    told: bool = False

    @property
    def reason(self) -> str:
        """Why it was left aside, and what would have it read."""
        if self.kind == EMPTY_FOLDER:
            return "the folder holds no file"
        remedy = remedy_of(self.kind)
        return f"left aside: {self.kind}" + (f"; {remedy}" if remedy else "")


def sorted_out(
    names: Iterable[str], head: Callable[[str], bytes]
) -> tuple[list[str], list[LeftAside]]:
    """Return the pictures among some files, sorted, and the others but for those of systems.

    Args:
        names: Relative paths with slashes.
        head: Returns a file's first bytes; asked where the name does not tell what it is.
    """
    pictures: list[str] = []
    others: list[LeftAside] = []
    for name in names:
        *folders, last = name.split("/")
        if last.startswith("._") or any(part.lower() in _OF_SYSTEMS for part in (*folders, last)):
            continue
        suffix = suffix_of(last)
        if last.startswith(".") or any(part.startswith(".") for part in folders):
            # Programs keep much in hidden folders; only a picture there might be missed.
            if suffix in picture_suffixes():
                others.append(LeftAside(name, HIDDEN))
            continue
        kind = suffix or content_kind(head(name))
        if kind == "picture" or kind in picture_suffixes():
            pictures.append(name)
        else:
            others.append(LeftAside(name, kind or NO_SUFFIX))
    return sorted(pictures), sorted(others, key=lambda other: other.path)


def told(left_aside: Collection[LeftAside], emptied: Sequence[str] = ()) -> str:
    """Return a sentence on the files that are left aside; empty if there is nothing to tell.

    Args:
        left_aside: The files.
        emptied: Classes and sites that have nothing left: ``class cross``.
    """
    kinds = Counter(each.kind for each in left_aside if each.kind != EMPTY_FOLDER)
    parts = []
    if kinds:
        files = "1 file" if kinds.total() == 1 else f"{kinds.total():,} files"
        counted = ", ".join(f"{kind} ({count:,})" for kind, count in kinds.most_common())
        parts.append(f"{files} left aside: {counted}")
    parts += [none_left(emptied)] if emptied else []
    parts += [
        f"{count:,} {kind} {'file' if count == 1 else 'files'}: {remedy}"
        for kind, count in kinds.most_common()
        if (remedy := remedy_of(kind))
    ]
    return "; ".join(parts)


def none_left(emptied: Sequence[str]) -> str:
    """Return that these classes and sites have nothing left; the first few are named."""
    more = len(emptied) - _FIRST_NAMED
    names = ", ".join(emptied[:_FIRST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{names} {'has' if len(emptied) == 1 else 'have'} none left"


def note_of(dataset: Dataset, *, named: bool = True) -> str:
    """Return what is to be told of the files that a data set leaves aside; empty if it has none.

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
    """Return the classes and sites of which only files that are left aside are there.

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
    """Return the folders that are called as splits are and hold no picture, and what is in them."""
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
