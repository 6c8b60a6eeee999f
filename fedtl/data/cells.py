"""What the text of one cell of a table says: a gap, a number, a category."""

from __future__ import annotations

import re

# As spreadsheets, R, pandas and hospitals' exports write that nothing is known.
_GAPS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "nat", "null", "<na>"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST_NUMBER = 64
LARGEST = 1e100
"""No number is larger, so that exact sums of squares stay short."""
_TRUTH = {"true": "true", "false": "false", "yes": "yes", "no": "no"}
_LONGEST_CATEGORY = 200


def is_gap(cell: str) -> bool:
    """Return whether a cell stands for no value."""
    return cell.strip().lower() in _GAPS


def number_of(cell: str) -> float | None:
    """Return the number that a cell is; ``None`` if it is none, such as ``<0.1`` or ``120 mg``."""
    if len(cell) > _LONGEST_NUMBER or not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    if abs(value) > LARGEST:
        return None
    return 0.0 if abs(value) < 1 / LARGEST else value


def written(number: float) -> str:
    """Return a number as people write it: ``3``, not ``3.0``."""
    whole = number.is_integer() and abs(number) < 1e15
    return str(int(number)) if whole else repr(number)


def category_of(cell: str) -> str:
    """Return the category that a cell names: ``3`` for ``3.0``, ``true`` for ``TRUE``."""
    number = number_of(cell)
    if number is not None:
        return written(number)
    text = " ".join(cell.split())[:_LONGEST_CATEGORY]
    return _TRUTH.get(text.lower(), text)


def folded_category(category: str) -> str:
    """Return what two spellings of one category have in common: case does not count."""
    return category.casefold()
