"""What the levels of a tree of folders mean: split or site, group, class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.guessed_levels import guessed
from fedtl.data.layout_option import CLASS, GROUP, NOTHING, SITE, SPLIT, parse_layout
from fedtl.data.layout_refusals import (
    LAYOUTS,
    Folders,
    depth_of,
    refuse_mixed_below,
    refuse_mixed_tops,
    refuse_parts,
    refuse_splits_without_classes,
    suggested_layout,
)
from fedtl.data.level_names import joined
from fedtl.data.split_names import (
    EXAMPLES,
    TEST,
    TRAINING,
    UNLABELLED,
    VALIDATION,
    says_unlabelled,
    split_role,
)
from fedtl.errors import UsageError

UNLABELLED_PICTURE = "unlabelled picture"
"""Why a picture is left aside that lies in no class folder, but in one of tests."""
_TOO_SHALLOW = "picture outside the layout's folders"


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
                f"--layout {layout} says what the top level is, so --top-level {top_level} has no "
                "effect; leave it out"
            )
        return _as_told(where, paths, folders, parse_layout(layout))
    left = _unlabelled(folders)
    rows = np.array([row for row in range(len(paths)) if row not in left], np.int64)
    paths, folders = [paths[row] for row in rows], [folders[row] for row in rows]
    if left and len({folder[0] for folder in folders}) == 1:
        # Of splits, that of training data is all that is left.
        folders = [folder[1:] for folder in folders]
    depth = depth_of(where, paths, folders)
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
            f"folders deep; the deepest is {paths[deepest]}"
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
            notes.append(f"{such}, whose name is not a split's, counts as training data")
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
        notes = [*notes, *_untrained(splits)]
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


def _untrained(splits: NDArray[np.str_]) -> list[str]:
    """Return what to tell the user if no split is named like training data."""
    names = {split_role(name): name for name in np.unique(splits).tolist()}
    if set(names) != {VALIDATION, TEST}:
        return []
    return [
        f"no folder is named like training data, so {names[VALIDATION]} is trained on and "
        f"{names[TEST]} scored"
    ]


def _unlabelled(folders: Folders) -> dict[int, str]:
    """Return the files that lie in a split's folder and in no class folder, as others do.

    They are those of a test split, or of a folder named like predictions, whose other splits are
    a level deeper; and those of a folder called unlabelled beside others that are no shallower.
    """
    depths: dict[str, Counter[int]] = {}
    for folder in folders:
        if folder:
            depths.setdefault(folder[0], Counter())[len(folder)] += 1
    roles = {top: split_role(top) for top in depths}
    aside = {top for top in depths if says_unlabelled(top) and _as_deep_as(depths, top)}
    trained = [top for top, role in roles.items() if role == TRAINING]
    if trained:
        fewest = min(min(depths[top]) for top in trained)
        aside |= {
            top
            for top, role in roles.items()
            if role not in ("", TRAINING) and max(depths[top]) < fewest
        }
    return {
        row: UNLABELLED_PICTURE
        for row, folder in enumerate(folders)
        if folder and folder[0] in aside
    }


def _as_deep_as(depths: Mapping[str, Counter[int]], top: str) -> bool:
    """Return whether a top's files lie in that folder alone, and those of others at least as deep.

    There must be others that a classifier can be trained on: two classes, or folders within one.
    """
    others = [own for other, own in depths.items() if other != top]
    deep = any(max(own) > 1 for own in others)
    return max(depths[top]) == 1 and (len(others) > 1 or deep)


def _meanings(
    where: Path, paths: Sequence[str], levels: Sequence[NDArray[np.str_]], top_level: str
) -> tuple[tuple[str, ...], str]:
    """Return what each level is, and what to tell the user about it."""
    depth = len(levels)
    if depth == 1:
        if top_level not in ("auto", "class"):
            raise UsageError(
                f"--top-level is {top_level}, but the folders of {where} have one level, which "
                f"names classes; expected {LAYOUTS}"
            )
        if top_level == "auto":
            refuse_splits_without_classes(where, levels[0])
            refuse_parts(where, levels[0])
        return (CLASS,), ""
    if top_level in ("group", "class"):
        if depth > 2:
            raise UsageError(
                f"--top-level is {top_level}, but the folders of {where} have {depth} levels; say "
                "what each is with --layout, as in --layout group/class/-"
            )
        return ((GROUP, CLASS) if top_level == "group" else (CLASS, GROUP)), ""
    if top_level in ("auto", "split"):
        refuse_mixed_tops(where, levels, top_level)
        refuse_mixed_below(where, levels)
    elif depth == 2:
        return (SITE, CLASS), ""
    found = guessed(levels)
    if found is not None and found[0][0] == CLASS:
        refuse_parts(where, levels[0])
    if found is None or (top_level == "site" and found[0][0] != SITE):
        raise UsageError(
            f"{where}: {paths[0]} lies {depth} folders deep, and which level names classes is not "
            "clear; say what each level is with --layout, as in --layout "
            f"{suggested_layout(levels)}, or arrange the files as {LAYOUTS}"
        )
    return found
