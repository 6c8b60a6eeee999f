"""What a column of a table holds: numbers, categories, or what no model can use as it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from fedtl.data.cells import category_of, folded_category, number_of
from fedtl.data.number_notation import MOST_NUMBERS
from fedtl.errors import UsageError

NUMERIC, CATEGORICAL, LEFT_OUT = "numeric", "categorical", "left out"
MOST_CATEGORIES = 1000
"""No column has more, whoever asks for it."""

_MOST_FOUND = 64
# So many different names in as many rows are names, not categories.
_FEWEST_NAMES = 12
_WORDS_OF_TEXT = 4
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})([T ].*)?"
    r"|\d{1,2}[- ]?[A-Za-z]{3,9}\.?[- ]?\d{2,4}|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
)
_IDENTIFIES = re.compile(
    r"(^|[^a-z])(id|ids|nr|no|num|number|index|idx|key|uuid|guid|mrn|patient|subject|person|case"
    r"|unnamed)($|[^a-z])|^column \d+$"
)


@dataclass(frozen=True)
class ColumnKind:
    """What a column holds.

    Attributes:
        kind: ``numeric``, ``categorical`` or ``left out``.
        why: Why it is left out, in a word or two.
        hint: What a person should know of it, a sentence; may be empty.
    """

    kind: str
    why: str = ""
    hint: str = ""


def kind_of_column(name: str, cells: Mapping[str, int], *, category: bool = False) -> ColumnKind:
    """Return what a column holds.

    Args:
        name: Its name.
        cells: How often each cell occurs that is no gap.
        category: Whether a person said that its cells are categories.

    Raises:
        UsageError: A person said so of a column of too many categories.
    """
    there = sum(cells.values())
    if not there:
        return ColumnKind(LEFT_OUT, "no value")
    if category:
        if len(cells) > MOST_CATEGORIES:
            raise UsageError(
                f"The column {name!r} has {len(cells):,} different cells, but at most "
                f"{MOST_CATEGORIES:,} categories are possible; leave it out of category-columns."
            )
        return ColumnKind(CATEGORICAL)
    numbers = sum(count for cell, count in cells.items() if number_of(cell) is not None)
    if numbers >= MOST_NUMBERS * there:
        return ColumnKind(NUMERIC, hint=_identifies(name, cells, there))
    dates = sum(count for cell, count in cells.items() if _DATE.fullmatch(cell))
    if dates >= MOST_NUMBERS * there:
        return ColumnKind(LEFT_OUT, "dates")
    distinct = len(category_counts(cells))
    if distinct > _MOST_FOUND or (distinct == there and there >= _FEWEST_NAMES):
        words = median(len(cell.split()) for cell in cells)
        if words >= _WORDS_OF_TEXT:
            return ColumnKind(
                LEFT_OUT, "texts", f"--text-column {name} classifies the texts of {name} instead"
            )
        return ColumnKind(LEFT_OUT, "names or identifiers")
    return ColumnKind(CATEGORICAL)


def category_counts(cells: Mapping[str, int]) -> dict[str, int]:
    """Return how many rows have each category, in order of the categories.

    Spellings that differ by case alone are one category, called by the first of them.
    """
    found: Counter[str] = Counter()
    spelt: dict[str, str] = {}
    for cell, count in cells.items():
        category = category_of(cell)
        key = folded_category(category)
        spelt[key] = min(spelt.get(key, category), category)
        found[key] += count
    return {spelt[key]: found[key] for key in sorted(found, key=lambda key: in_order(spelt[key]))}


def in_order(category: str) -> tuple[bool, float, str]:
    """Return what categories are sorted by: numbers by size, before words."""
    number = number_of(category)
    return number is None, number or 0.0, category


def _identifies(name: str, cells: Mapping[str, int], there: int) -> str:
    """Return a sentence if a column of numbers looks like an identifier."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    if len(cells) < there or there < _FEWEST_NAMES or not _IDENTIFIES.search(parted):
        return ""
    if not all(float(cell).is_integer() for cell in cells if number_of(cell) is not None):
        return ""
    return (
        f"the column {name!r} looks like an identifier, as no two rows have the same; "
        f"--ignored-columns {name} leaves it out"
    )
