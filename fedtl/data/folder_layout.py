"""What the levels of a tree of folders mean: split or site, group, class."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import UsageError

LAYOUTS = (
    "class/file, split/class/file (train, val or validation, test), site/class/file, "
    "class/group/file or site/group/class/file"
)

TRAINING = frozenset({"train", "training"})
VALIDATION = frozenset({"val", "valid", "validation"})
TEST = frozenset({"test", "testing"})
_SPLITS = TRAINING | VALIDATION | TEST

_GROUP_WORDS = (
    "patient|pat|subject|subj|sub|person|participant|case|slide|session|author|speaker|donor|animal"
)
GROUP_NAME = re.compile(rf"(?:{_GROUP_WORDS})[ _-]?(?:id)?[ _-]?[a-z]?\d+", re.IGNORECASE)
"""A word for what pictures are taken of, with its number: ``patient_012``."""

_DEEPEST = 3

Folders = Sequence[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Layout:
    """What the folders of N files say.

    Attributes:
        classes: Shape ``(N,)``.
        sites: Shape ``(N,)``; ``None`` if no level names sites.
        groups: Shape ``(N,)``, with the site's name before each if there are sites, as hospitals
            number their own patients; ``None`` if no level names groups.
        splits: Shape ``(N,)``, in lower case; ``None`` if no level names splits.
        guess: What was guessed, and the option that settles it; empty if nothing was.
    """

    classes: NDArray[np.str_]
    sites: NDArray[np.str_] | None = None
    groups: NDArray[np.str_] | None = None
    splits: NDArray[np.str_] | None = None
    guess: str = ""


def read_layout(where: Path, paths: Sequence[str], folders: Folders, top_level: str) -> Layout:
    """Return what the levels mean.

    A single level names classes. Of two, the upper names splits if all its folders are called so;
    groups if only the lower level can be groups, that is if its names are (``patient_012``) or
    number the pictures of one class each; and otherwise sites. Of three, the upper names splits or
    sites, and the groups are the level whose names say so, or whose folders lie in one folder each
    while those of the other level recur.

    Args:
        where: The data, for messages.
        paths: Name of each file, shape ``(N,)``.
        folders: The folders that each lies in, outermost first.
        top_level: The key ``top-level``: what the outermost of several levels is.

    Raises:
        UsageError: The folders fit no layout, or more than one.
    """
    depth = _depth(where, paths, folders)
    levels = [np.array([folder[level] for folder in folders]) for level in range(depth)]
    if depth == 1:
        if top_level not in ("auto", "class"):
            raise UsageError(
                f"--top-level is {top_level}, but the folders of {where} have one level, which "
                f"names classes; expected {LAYOUTS}"
            )
        return Layout(levels[0])
    split = _tops_are_splits(where, levels[0], top_level)
    if depth == 2:
        return Layout(levels[1], splits=levels[0]) if split else _two(levels, top_level)
    if top_level in ("group", "class"):
        raise UsageError(
            f"--top-level is {top_level}, but the folders of {where} have three levels, of which "
            "the top is site or split"
        )
    upper_is_group = _upper_is_group(levels)
    if upper_is_group is None:
        raise UsageError(
            f"{where}: {paths[0]} lies 3 folders deep, and which level names classes is not clear; "
            f"name the groups with --group-from, or arrange the files as {LAYOUTS}"
        )
    group, classes = (levels[1], levels[2]) if upper_is_group else (levels[2], levels[1])
    if split:
        return Layout(classes, groups=group, splits=levels[0])
    return Layout(classes, sites=levels[0], groups=_joined(levels[0], group))


def _depth(where: Path, paths: Sequence[str], folders: Folders) -> int:
    """Return how many folders every file lies in, from 1 to 3."""
    examples: dict[int, str] = {}
    for folder, name in zip(folders, paths, strict=True):
        examples.setdefault(len(folder), name)
    if 0 in examples:
        raise UsageError(
            f"{where}: {examples[0]} lies in no class folder; expected {LAYOUTS}, or a table that "
            "names classes (--labels FILE.csv)"
        )
    deepest, shallowest = max(examples), min(examples)
    if deepest > _DEEPEST:
        raise UsageError(
            f"{where}: {examples[deepest]} lies {deepest} folders deep; expected {LAYOUTS}"
        )
    if deepest != shallowest:
        counts = ("", "one folder", "two", "three")
        raise UsageError(
            f"{where} mixes layouts: {examples[shallowest]} lies {counts[shallowest]} deep and "
            f"{examples[deepest]} {counts[deepest]}; expected all as {LAYOUTS}"
        )
    return deepest


def _tops_are_splits(where: Path, tops: NDArray[np.str_], top_level: str) -> bool:
    names = {str(top) for top in np.unique(tops)}
    splits = {top for top in names if top.lower() in _SPLITS}
    if top_level not in ("auto", "split"):
        return False
    if top_level == "split" and not splits:
        raise UsageError(
            f"--top-level is split, but {where} has the folders {', '.join(sorted(names)[:4])}; "
            f"splits are called {', '.join(sorted(_SPLITS))}"
        )
    if splits and splits != names:
        raise UsageError(
            f"{where} mixes layouts: folder {min(splits)} is a split and {min(names - splits)} "
            f"looks like a site; expected {LAYOUTS}"
        )
    return bool(splits)


def _two(levels: Sequence[NDArray[np.str_]], top_level: str) -> Layout:
    upper, lower = levels
    if top_level == "group":
        return Layout(lower, groups=upper)
    if top_level == "class":
        return Layout(upper, groups=lower)
    if top_level == "site":
        return Layout(lower, sites=upper)
    tops, names = np.unique(upper), np.unique(lower)
    if _named_groups(names) and not _named_groups(tops):
        return Layout(upper, groups=lower)
    pairs = set(zip(upper.tolist(), lower.tolist(), strict=True))
    several = min(Counter(top for top, _ in pairs).values()) > 1
    numbered = np.mean([any(map(str.isdigit, name)) for name in names.tolist()]) > 0.5
    if len(tops) > 1 and several and numbered and _each_under_one(upper, lower):
        return Layout(
            upper,
            groups=lower,
            guess=(
                f"every lower folder, such as {names[0]}, lies under one upper folder only, so the "
                "layout is taken to be class/group/file, the pictures of a group (a patient, a "
                "slide) together; --top-level class settles that, --top-level site makes it "
                "site/class/file"
            ),
        )
    return Layout(lower, sites=upper)


def _upper_is_group(levels: Sequence[NDArray[np.str_]]) -> bool | None:
    """Return whether of three levels the middle one names groups; ``None`` if that is not clear."""
    top, middle, bottom = levels
    middles, bottoms = np.unique(middle), np.unique(bottom)
    named = _named_groups(middles), _named_groups(bottoms)
    if named[0] != named[1]:
        return named[0]
    middle_single = _each_under_one(top, middle)
    bottom_single = _each_under_one(_joined(top, middle), bottom)
    if middle_single and not bottom_single and len(bottoms) < len(middles):
        return True
    if bottom_single and not middle_single and len(middles) < len(bottoms):
        return False
    return None


def _named_groups(names: NDArray[np.str_]) -> bool:
    return all(GROUP_NAME.fullmatch(name) for name in names.tolist())


def _each_under_one(above: NDArray[np.str_], below: NDArray[np.str_]) -> bool:
    parents: dict[str, set[str]] = defaultdict(set)
    for upper, lower in zip(above.tolist(), below.tolist(), strict=True):
        parents[lower].add(upper)
    return all(len(found) == 1 for found in parents.values())


def _joined(above: NDArray[np.str_], below: NDArray[np.str_]) -> NDArray[np.str_]:
    joined: NDArray[np.str_] = np.char.add(np.char.add(above, "/"), below)
    return joined
