"""Why folders fit no layout, and the option that would have them read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedtl.data.guessed_levels import guessed, split_level
from fedtl.data.layout_option import CLASS, NOTHING, SITE, SPLIT, written
from fedtl.data.level_names import Names, parts
from fedtl.data.split_names import EXAMPLES, TEST, TRAINING, split_role
from fedtl.errors import UsageError

Folders = Sequence[tuple[str, ...]]

LAYOUTS = (
    "class/file, split/class/file (train, val, test), site/class/file, class/group/file, "
    "site/group/class/file, client/split/class/file or another that --layout names"
)
_DEEPEST = 4


def depth_of(where: Path, paths: Sequence[str], folders: Folders) -> int:
    """Return how many folders every file lies in, from 1 to 4.

    Raises:
        UsageError: They do not lie equally deep, or lie deeper.
    """
    examples: dict[int, str] = {}
    for folder, name in zip(folders, paths, strict=True):
        examples.setdefault(len(folder), name)
    if 0 in examples:
        raise UsageError(
            f"{where}: {examples[0]} lies in no class folder; expected {LAYOUTS}, or a table that "
            f"names classes (--labels FILE.csv){_remedy(folders)}"
        )
    deepest, shallowest = max(examples), min(examples)
    if deepest != shallowest:
        counts = ("", "one folder", "two", "three", "four")
        deep = counts[deepest] if deepest < len(counts) else str(deepest)
        raise UsageError(
            f"{where} mixes layouts: {examples[shallowest]} lies {counts[shallowest]} deep and "
            f"{examples[deepest]} {deep}; expected all as {LAYOUTS}{_remedy(folders)}"
        )
    if deepest > _DEEPEST:
        raise UsageError(
            f"{where}: {examples[deepest]} lies {deepest} folders deep; say what each level is "
            "with --layout, as in --layout class/-/group"
        )
    return deepest


def _remedy(folders: Folders) -> str:
    """Return which layout most of the files have, and what becomes of the others by it."""
    counts = Counter(map(len, folders))
    depth = max(counts, key=lambda deep: (counts[deep], deep))
    if not depth:
        return ""
    rows = [folder for folder in folders if len(folder) == depth]
    levels = [np.array([folder[level] for folder in rows]) for level in range(depth)]
    found = guessed(levels)
    if found is None:
        return "; say what each level is with --layout, as in --layout site/group/class"
    meanings = list(found[0])
    if depth > 1 and all(split_role(name) for name in set(levels[0].tolist())):
        meanings[0] = SPLIT
    becomes = ["leaves files outside it aside"] if min(counts) < depth else []
    if max(counts) > depth:
        becomes.append("takes what lies deeper, too")
    while meanings[-1] == NOTHING:
        meanings.pop()
    return f"; --layout {'/'.join(meanings)} {' and '.join(becomes)}"


def suggested_layout(levels: Sequence[Names]) -> str:
    """Return a layout for ``--layout`` that the levels might have."""
    split = split_level(levels)
    if split is None:
        split = next((at for at, names in enumerate(levels) if _some_splits(names)), None)
    rest = ["site", "group", "class"][-(len(levels) - (split is not None)) :]
    if split is not None:
        rest.insert(split, SPLIT)
    return "/".join(rest)


def refuse_mixed_below(where: Path, levels: Sequence[Names]) -> None:
    """Refuse a lower level if only some of its folders are named like splits."""
    for level, names in enumerate(levels):
        if level and split_level(levels) is None and _some_splits(names):
            found = np.unique(names).tolist()
            splits = [name for name in found if split_role(name)]
            other = next(name for name in found if not split_role(name))
            rest = [SITE, CLASS] if len(levels) == 3 else [CLASS]
            rest.insert(level, SPLIT)
            raise UsageError(
                f"{where} mixes layouts: lower folders such as {splits[0]} and {splits[1]} are "
                f"splits and {other} is not; --layout {'/'.join(rest)} reads all of "
                f"them as splits, with {other} as training data"
            )


def _some_splits(names: Names) -> bool:
    """Return whether there are training data and another split, and folders of other names."""
    roles = {split_role(name) for name in set(names.tolist())}
    return {"", TRAINING} < roles


def refuse_splits_without_classes(where: Path, tops: Names) -> None:
    """Refuse folders that are all named like splits and hold files."""
    names = np.unique(tops).tolist()
    roles = [split_role(name) for name in names]
    if TRAINING in roles and "" not in roles and len(set(roles)) > 1:
        raise UsageError(
            f"{where}: the folders {', '.join(names[:4])} are named like splits, and no folder "
            "within them names a class; name classes by a table (--labels FILE.csv), or say that "
            "these are the classes (--layout class)"
        )


def refuse_parts(where: Path, tops: Names) -> None:
    """Refuse classes that are named like parts of one collection: ``images_001``."""
    names = np.unique(tops)
    if parts(names):
        raise UsageError(
            f"{where}: the folders {', '.join(names[:2].tolist())} are named like parts of one "
            "collection, so none of them names a class; name classes by a table (--labels "
            "FILE.csv), or say that these are the classes (--layout class)"
        )


def refuse_mixed_tops(where: Path, levels: Sequence[Names], top_level: str) -> None:
    """Refuse top folders if only some of them are named like splits."""
    names = np.unique(levels[0]).tolist()
    splits = [name for name in names if split_role(name)]
    others = [name for name in names if not split_role(name)]
    if top_level == "split" and not splits:
        raise UsageError(
            f"--top-level is split, but {where} has the folders {', '.join(names[:4])}; splits are "
            f"called {EXAMPLES}"
        )
    if len(splits) > 1 and not others and {split_role(name) for name in splits} == {TEST}:
        raise UsageError(
            f"{where}: the folders {', '.join(splits[:3])} are all named like test splits, and "
            "nothing is training data; --layout -/class takes all as training data, --layout "
            "site/class makes them sites"
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
            f"{where} mixes layouts: {such} and {others[0]} looks like a site; --layout "
            f"{as_splits} reads them as splits, with {others[0]} as training data, and --layout "
            f"{as_sites} reads all {len(names)} as sites ({written(as_splits.split('/'))} or "
            f"{written(as_sites.split('/'))})"
        )
