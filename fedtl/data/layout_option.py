"""What ``--layout`` says: the meaning of each level of folders, outright."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.errors import UsageError

SPLIT, SITE, GROUP, CLASS, NOTHING = "split", "site", "group", "class", "-"

_MEANINGS = {
    SPLIT: SPLIT,
    SITE: SITE,
    "client": SITE,
    "hospital": SITE,
    GROUP: GROUP,
    "patient": GROUP,
    "subject": GROUP,
    CLASS: CLASS,
    "label": CLASS,
    NOTHING: NOTHING,
    "*": NOTHING,
}
_FILE = "file"


def parse_layout(text: str) -> tuple[str, ...]:
    """Return what each level of folders is, outermost first.

    Args:
        text: Names of levels, separated by slashes: class, and if there are such levels split, site
            (or client), group (or patient), and - for a level that says nothing. A last ``file``
            may stand for the files themselves. Deeper folders say nothing.

    Raises:
        UsageError: A name is unknown or stands twice, or no level is the class.
    """
    words = [word.strip().lower() for word in text.strip("/ ").split("/")]
    if len(words) > 1 and words[-1] == _FILE:
        words.pop()
    unknown = [word for word in words if word not in _MEANINGS]
    if unknown:
        raise UsageError(
            f"--layout {text}: {unknown[0] or 'an empty name'} is not a level; levels are split, "
            "site (or client), group (or patient), class, and - for one that says nothing, as in "
            "site/class or split/-/class"
        )
    levels = tuple(_MEANINGS[word] for word in words)
    twice = [level for level in levels if level != NOTHING and levels.count(level) > 1]
    if twice:
        raise UsageError(f"--layout {text}: two levels are {twice[0]}, but each may be one only")
    if CLASS not in levels:
        raise UsageError(
            f"--layout {text} names no level class; without class folders, a table names classes "
            "(--labels FILE.csv)"
        )
    return levels


def written(levels: Sequence[str]) -> str:
    """Return a layout as messages write it: ``site/class/file``."""
    return "/".join((*levels, _FILE))
