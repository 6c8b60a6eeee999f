"""What names of folders tell of a level: groups, sites, and which folders lie in one only."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from fedtl.data.folded_name import folded
from fedtl.data.split_names import words_of

_GROUP_WORDS = (
    "patient|pat|subject|subj|sub|person|participant|case|slide|session|author|speaker|donor|animal"
)
GROUP_NAME = re.compile(rf"(?:{_GROUP_WORDS})[ _-]?(?:id)?[ _-]?[a-z]?\d+", re.IGNORECASE)
"""A word for what pictures are taken of, with its number: ``patient_012``."""

_SITE_WORDS = (
    "site|client|hospital|hosp|clinic|center|centre|institution|institute|domain|party|silo|scanner"
)
_SITE_NAME = re.compile(rf"(?:{_SITE_WORDS})(?:[ _-].+|[ _-]?[a-z]?\d*)", re.IGNORECASE)

_NUMBER = re.compile(r"[a-z]{0,3}[ _-]?\d{2,}[a-z]?", re.IGNORECASE)

# Years are none.
_LONG_NUMBER = re.compile(
    r"(?!(?:19|20)\d\d$)[a-z]{0,3}[ _-]?\d{3,}[a-z]?|[a-z][ _-]?\d{2,}", re.IGNORECASE
)

_PICTURE_WORDS = (
    "image images img imgs picture pictures pic pics photo photos jpg jpeg jpegs png pngs tif tiff "
    "data file files all original originals raw frames tiles patches crops slices"
)
PICTURE_WORDS = frozenset(_PICTURE_WORDS.split())
"""What folders are called that hold pictures, whatever they show."""

# What pictures are said to show, and by what those of one class are told apart.
_CLASS_WORDS = frozenset(
    {"normal", "abnormal", "healthy", "diseased", "sick", "ill", "benign", "malignant", "positive",
     "negative", "pos", "neg", "ok", "nok", "good", "bad", "yes", "no", "defect", "defective"}
)  # fmt: skip
_ASPECT = re.compile(
    r"(?:original|augmented|augmentation|aug|left|right|frontal|lateral|front|back|side|top|bottom"
    r"|day|night|\d+ ?x|cam(?:era)?[ _-]?\d+|(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d)",
    re.IGNORECASE,
)

_PART = re.compile(
    r"(?P<stem>.*?)(?P<word>images?|imgs?|pictures|photos|part|batch|chunk|volume|vol|archive|zip"
    r"|folds?|cv|subset)[ _-]?\d+",
    re.IGNORECASE,
)

Names = NDArray[np.str_]


def named_groups(names: Names) -> bool:
    """Return whether all names are a group's: ``patient_012``."""
    return all(GROUP_NAME.fullmatch(name) for name in names.tolist())


def named_sites(names: Names) -> bool:
    """Return whether all names are a site's: ``hospital_a``, ``client3``."""
    return all(_SITE_NAME.fullmatch(name) for name in names.tolist())


def identifiers(names: Names) -> bool:
    """Return whether all names are numbers, as patients have them: ``P01``, ``10253``."""
    return all(_NUMBER.fullmatch(name) for name in names.tolist())


def long_numbers(names: Names) -> bool:
    """Return whether all names are numbers as patients have them, rather than a few sites."""
    return all(_LONG_NUMBER.fullmatch(name) for name in names.tolist())


def parts(names: Names) -> bool:
    """Return whether names are those of parts of one collection: ``images_001``, ``fold2``."""
    found = [_PART.fullmatch(name) for name in names.tolist()]
    stems = {(one["stem"].lower(), one["word"].lower()) for one in found if one is not None}
    return len(names) > 1 and None not in found and len(stems) == 1


def named_classes(names: Names) -> bool:
    """Return whether at least half of the names say what a picture shows: ``benign``, ``ok``."""
    return bool(np.mean([bool(words_of(name) & _CLASS_WORDS) for name in names.tolist()]) >= 0.5)


def aspects(names: Names) -> bool:
    """Return whether names part pictures of one class: ``left``, ``40X``, ``2021-01-02``."""
    return all(_ASPECT.fullmatch(name) for name in names.tolist())


def mostly_numbered(names: Names) -> bool:
    """Return whether more than half of the names have a digit."""
    return bool(np.mean([any(map(str.isdigit, name)) for name in names.tolist()]) > 0.5)


def parents(above: Names, below: Names) -> dict[str, set[str]]:
    """Return in which upper folders each name of a lower level lies, as a person reads it.

    Args:
        above: Upper folder of each file, shape ``(N,)``.
        below: Lower folder of each, shape ``(N,)``.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for upper, lower in sorted(set(zip(above.tolist(), below.tolist(), strict=True))):
        found[folded(lower)].add(upper)
    return dict(found)


def each_under_one(above: Names, below: Names) -> bool:
    """Return whether every name of the lower level lies in one upper folder only."""
    return all(len(found) == 1 for found in parents(above, below).values())


def joined(above: Names, below: Names) -> Names:
    """Return ``above/below`` of each file."""
    both: Names = np.char.add(np.char.add(above, "/"), below)
    return both
