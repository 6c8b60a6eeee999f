"""Masks and other pictures of pictures, which lie beside what is to be classified."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from fedtl.data.level_names import PICTURE_WORDS
from fedtl.data.split_names import split_role, words_of

MASK = "mask picture"
"""Why a picture is left aside that marks something in another one."""

_MASK_WORDS = frozenset(
    {"mask", "masks", "groundtruth", "gt", "annotation", "annotations", "segmentation", "label",
     "labels"}
)  # fmt: skip
# Of these, the words of ground_truth say so together only.
_GROUND_TRUTH = frozenset({"ground", "truth"})
_MASK_FILE = re.compile(r"(?P<of>.+?)[ _-](?:mask|seg|segmentation|gt|groundtruth)(?:[ _-]?\d+)?")


def masks(paths: Sequence[str], folders: Sequence[tuple[str, ...]]) -> list[int]:
    """Return the pictures that mark something in others; they are of no class.

    They lie in a folder such as ``masks`` beside ``images`` or beside splits, ``train_masks``
    beside ``train``, or are called ``1_mask.png`` beside ``1.png``. With ``mask`` alone, or beside
    ``no_mask``, a folder is a class.

    Args:
        paths: The pictures.
        folders: The folders of each, as far as they may mean something.
    """
    inside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folder in set(folders):
        for level, name in enumerate(folder):
            inside[folder[:level]].add(name)
    marking = {
        (*above, name)
        for above, names in inside.items()
        for name in names
        if _marks(name, names - {name})
    }
    stems = {path.rpartition(".")[0] or path for path in paths}
    return [
        row
        for row, (path, folder) in enumerate(zip(paths, folders, strict=True))
        if any(folder[: level + 1] in marking for level in range(len(folder)))
        or _of_another(path, stems)
    ]


def _marks(name: str, others: set[str]) -> bool:
    """Return whether a folder holds masks of pictures in one of those beside it."""
    own = words_of(name)
    if not (own & _MASK_WORDS or own >= _GROUND_TRUTH):
        return False
    rest = own - _MASK_WORDS - _GROUND_TRUTH
    beside = [words_of(other) for other in others]
    if any(words - PICTURE_WORDS == rest and (rest or words) for words in beside):
        return True
    return not rest and any(split_role(other) for other in others)


def _of_another(path: str, stems: set[str]) -> bool:
    folder, _, name = path.rpartition("/")
    match = _MASK_FILE.fullmatch((name.rpartition(".")[0] or name).lower())
    if match is None:
        return False
    original = name[: len(match["of"])]
    return (f"{folder}/{original}" if folder else original) in stems
