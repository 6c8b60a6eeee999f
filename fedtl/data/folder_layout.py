"""What the levels of a tree of folders mean: split or site, group, class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.guessed_levels import guessed, split_level
from fedtl.data.layout_option import CLASS, GROUP, NOTHING, SITE, SPLIT, parse_layout, written
from fedtl.data.level_names import joined
from fedtl.data.split_names import EXAMPLES, TRAINING, UNLABELLED, split_role
from fedtl.errors import UsageError

LAYOUTS = (
    "class/file, split/class/file (train, val, test), site/class/file, class/group/file, "
    "site/group/class/file, client/split/class/file or another that --layout names"
)

UNLABELLED_PICTURE = "unlabelled picture"
"""Why a picture is left aside that lies in no class folder, but in one of tests."""
_TOO_SHALLOW = "picture outside the layout's folders"
_DEEPEST = 4

Folders = Sequence[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Layout:
    """What the folders of N files say; n of them are read.

    Attributes:
        levels: What each level is, outermost first: see ``parse_layout``.
        rows: The files that are read, rising, shape ``(n,)``.
        classes: Shape ``(n,)``.
        sites: Shape ``(n,)``; ``None`` if no level names sites.
        groups: Shape ``(n,)``, with the site's name before each if there are sites, as hospitals
            number their own patients; ``None`` if no level names groups.
        splits: Shape ``(n,)``, see ``split_role``; ``None`` if no level names splits.
        left: Why each other file is not read.
        notes: What was guessed, and the option that settles it.
    """

    levels: tuple[str, ...]
    rows: NDArray[np.int64]
    classes: NDArray[np.str_]
    sites: NDArray[np.str_] | None = None
    groups: NDArray[np.str_] | None = None
    splits: NDArray[np.str_] | None = None
    left: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_layout(
    where: Path,
    paths: Sequence[str],
    folders: Folders,
    *,
    top_level: str = "auto",
    layout: str = "",
) -> Layout:
    """Return what the levels mean; see ``guessed`` for what is read if nobody says it.

    Args:
        where: The data, for messages.
        paths: Name of each file, shape ``(N,)``.
        folders: The folders that each lies in, outermost first.
        top_level: The key ``top-level``: what the outermost of several levels is.
        layout: The key ``layout``: what every level is (see ``parse_layout``); empty to guess.

    Raises:
        UsageError: The folders fit no layout, or more than one.
    """
    if layout:
        if top_level != "auto":
            raise UsageError(
                f"--layout {layout} says what the top level is, so --top-level {top_level} has "
                "nothing to say; leave it out"
            )
        return _as_told(where, paths, folders, parse_layout(layout))
    left = _unlabelled(folders)
    rows = np.array([row for row in range(len(paths)) if row not in left], np.int64)
    paths, folders = [paths[row] for row in rows], [folders[row] for row in rows]
    if left and len({folder[0] for folder in folders}) == 1:
        # Of splits, that of training data is all that is left.
        folders = [folder[1:] for folder in folders]
    depth = _depth(where, paths, folders)
    levels = [np.array([folder[level] for folder in folders]) for level in range(depth)]
    meanings, told = _meanings(where, paths, levels, top_level)
    return _with_levels(levels, meanings, rows, left, [told] if told else [])


def _as_told(
    where: Path, paths: Sequence[str], folders: Folders, meanings: tuple[str, ...]
) -> Layout:
    """Return the layout that the user names; files outside its folders are left aside."""
    deep = [len(folder) >= len(meanings) for folder in folders]
    if not any(deep):
        deepest = max(range(len(folders)), key=lambda row: len(folders[row]))
        raise UsageError(
            f"--layout is {'/'.join(meanings)}, but no file of {where} lies {len(meanings)} "
            f"folders deep, the deepest being {paths[deepest]}"
        )
    left = {row: _TOO_SHALLOW for row, enough in enumerate(deep) if not enough}
    rows = np.flatnonzero(deep).astype(np.int64)
    read = [folders[row] for row in rows.tolist()]
    levels = [np.array([folder[level] for folder in read]) for level in range(len(meanings))]
    notes = []
    if SPLIT in meanings:
        names = set(levels[meanings.index(SPLIT)].tolist())
        strange = sorted(name for name in names if not split_role(name))
        if len(strange) == len(names):
            raise UsageError(
                f"--layout has a level of splits, but {where} has the folders "
                f"{', '.join(strange[:4])} there; splits are called {EXAMPLES}"
            )
        if strange:
            such = " and ".join(strange) if len(strange) < 4 else f"{len(strange)} folders"
            notes.append(f"{such}, whose name is no split's, counts as training data")
    return _with_levels(levels, meanings, rows, left, notes)


def _with_levels(
    levels: Sequence[NDArray[np.str_]],
    meanings: tuple[str, ...],
    rows: NDArray[np.int64],
    left: Mapping[int, str],
    notes: list[str],
) -> Layout:
    named = {what: names for what, names in zip(meanings, levels, strict=True) if what != NOTHING}
    sites, groups, splits = named.get(SITE), named.get(GROUP), named.get(SPLIT)
    keep = np.ones(len(rows), dtype=np.bool_)
    if splits is not None:
        splits = np.array([split_role(name) or TRAINING for name in splits.tolist()])
        keep = splits != UNLABELLED
        left = dict(left) | dict.fromkeys(rows[~keep].tolist(), UNLABELLED_PICTURE)
        splits = splits[keep]
    if groups is not None and sites is not None:
        groups = joined(sites, groups)
    return Layout(
        meanings,
        rows[keep],
        named[CLASS][keep],
        sites=None if sites is None else sites[keep],
        groups=None if groups is None else groups[keep],
        splits=splits,
        left=left,
        notes=tuple(notes),
    )


def _unlabelled(folders: Folders) -> dict[int, str]:
    """Return the files that lie in a split's folder and in no class folder, as others do.

    They are those of a test split, or of a folder called unlabelled or as predictions are, whose
    other splits are a level deeper.
    """
    depths: dict[str, Counter[int]] = {}
    for folder in folders:
        if folder:
            depths.setdefault(folder[0], Counter())[len(folder)] += 1
    roles = {top: split_role(top) for top in depths}
    trained = [top for top, role in roles.items() if role == TRAINING]
    if not trained:
        return {}
    fewest = min(min(depths[top]) for top in trained)
    aside = {
        top
        for top, role in roles.items()
        if role not in ("", TRAINING) and max(depths[top]) < fewest
    }
    return {
        row: UNLABELLED_PICTURE
        for row, folder in enumerate(folders)
        if folder and folder[0] in aside
    }


def _depth(where: Path, paths: Sequence[str], folders: Folders) -> int:
    """Return how many folders every file lies in, from 1 to 4."""
    examples: dict[int, str] = {}
    for folder, name in zip(folders, paths, strict=True):
        examples.setdefault(len(folder), name)
    if 0 in examples:
        raise UsageError(
            f"{where}: {examples[0]} lies in no class folder; expected {LAYOUTS}, or a table that "
            "names classes (--labels FILE.csv); --layout class leaves such files aside"
        )
    deepest, shallowest = max(examples), min(examples)
    if deepest != shallowest:
        counts = ("", "one folder", "two", "three", "four")
        deep = counts[deepest] if deepest < len(counts) else str(deepest)
        raise UsageError(
            f"{where} mixes layouts: {examples[shallowest]} lies {counts[shallowest]} deep and "
            f"{examples[deepest]} {deep}; expected all as {LAYOUTS} (--layout class takes the top "
            "folders as classes, whatever lies in them)"
        )
    if deepest > _DEEPEST:
        raise UsageError(
            f"{where}: {examples[deepest]} lies {deepest} folders deep; say what each level is by "
            "--layout, as in --layout class/-/group"
        )
    return deepest


def _meanings(
    where: Path, paths: Sequence[str], levels: Sequence[NDArray[np.str_]], top_level: str
) -> tuple[tuple[str, ...], str]:
    """Return what each level is, and what is to be told of it."""
    depth = len(levels)
    if depth == 1:
        if top_level not in ("auto", "class"):
            raise UsageError(
                f"--top-level is {top_level}, but the folders of {where} have one level, which "
                f"names classes; expected {LAYOUTS}"
            )
        if top_level == "auto":
            _refuse_splits_without_classes(where, levels[0])
        return (CLASS,), ""
    if top_level in ("group", "class"):
        if depth > 2:
            raise UsageError(
                f"--top-level is {top_level}, but the folders of {where} have {depth} levels; say "
                "what each is by --layout, as in --layout group/class/-"
            )
        return ((GROUP, CLASS) if top_level == "group" else (CLASS, GROUP)), ""
    if top_level in ("auto", "split"):
        _check_splits(where, levels, top_level)
    elif depth == 2:
        return (SITE, CLASS), ""
    found = guessed(levels)
    if found is None or (top_level == "site" and found[0][0] != SITE):
        raise UsageError(
            f"{where}: {paths[0]} lies {depth} folders deep, and which level names classes is not "
            f"clear; say what each level is by --layout, as in --layout {_suggested(levels)}, or "
            f"arrange the files as {LAYOUTS}"
        )
    return found


def _suggested(levels: Sequence[NDArray[np.str_]]) -> str:
    split = split_level(levels)
    rest = ["site", "group", "class"][-(len(levels) - (split is not None)) :]
    if split is not None:
        rest.insert(split, SPLIT)
    return "/".join(rest)


def _refuse_splits_without_classes(where: Path, tops: NDArray[np.str_]) -> None:
    names = np.unique(tops).tolist()
    roles = [split_role(name) for name in names]
    if TRAINING in roles and "" not in roles and len(set(roles)) > 1:
        raise UsageError(
            f"{where}: the folders {', '.join(names[:4])} are called as splits are, and no folder "
            "within them names a class; name classes by a table (--labels FILE.csv), or say that "
            "these are the classes (--layout class)"
        )


def _check_splits(where: Path, levels: Sequence[NDArray[np.str_]], top_level: str) -> None:
    """Refuse tops of which some are called as splits are and others are not."""
    names = np.unique(levels[0]).tolist()
    splits = [name for name in names if split_role(name)]
    others = [name for name in names if not split_role(name)]
    if top_level == "split" and not splits:
        raise UsageError(
            f"--top-level is split, but {where} has the folders {', '.join(names[:4])}; splits are "
            f"called {EXAMPLES}"
        )
    if splits and others and split_level(levels) in (None, 0):
        below = "class" if len(levels) == 2 else "group/class"
        as_splits, as_sites = f"{SPLIT}/{below}", f"{SITE}/{below}"
        such = (
            f"folder {splits[0]} is a split"
            if len(splits) == 1
            else f"folders {', '.join(splits[:3])} are splits"
        )
        raise UsageError(
            f"{where} mixes layouts: {such} and {others[0]} looks like a site; "
            f"--layout {as_splits} reads them as splits, {others[0]} being "
            f"training data, and --layout {as_sites} reads all {len(names)} as sites "
            f"({written(as_splits.split('/'))} or {written(as_sites.split('/'))})"
        )
