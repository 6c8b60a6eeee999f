"""A table's schema: what each column is, agreed by all sites, so that rows become numbers alike."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtl.data.cells import folded_category
from fedtl.data.column_kinds import CATEGORICAL, MOST_CATEGORIES, NUMERIC

MOST_COLUMNS = 20_000
MOST_FEATURES = 100_000
LONGEST_NAME = 200


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers.

    Attributes:
        name: As in the table's header.
        centre: What counts as 0, such as the mean.
        scale: What counts as 1, such as the standard deviation; above 0.
        gaps: Whether some rows have no value.
    """

    name: str
    centre: float
    scale: float
    gaps: bool = False

    @property
    def width(self) -> int:
        """How many features it gives."""
        return 1 + self.gaps


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories.

    Attributes:
        name: As in the table's header.
        categories: Those that are known, in order.
        gaps: Whether some rows have no value.
    """

    name: str
    categories: tuple[str, ...]
    gaps: bool = False

    @property
    def width(self) -> int:
        """How many features it gives."""
        return len(self.categories) + self.gaps


Column = NumericColumn | CategoryColumn


@dataclass(frozen=True)
class Schema:
    """The columns that rows are turned into numbers by, in order."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """How many features a row gives."""
        return sum(column.width for column in self.columns)

    def to_mapping(self) -> dict[str, Any]:
        """Return the columns by name, for JSON and TOML."""
        found: dict[str, Any] = {}
        for column in self.columns:
            if isinstance(column, NumericColumn):
                facts: dict[str, Any] = {"centre": column.centre, "scale": column.scale}
                found[column.name] = {"kind": NUMERIC, **facts, "gaps": column.gaps}
            else:
                known = list(column.categories)
                found[column.name] = {"kind": CATEGORICAL, "categories": known, "gaps": column.gaps}
        return found

    def digest(self) -> str:
        """Return the SHA-256 of all columns, hexadecimal; their order counts."""
        return hashlib.sha256(json.dumps(list(self.to_mapping().items())).encode()).hexdigest()

    @classmethod
    def of_mapping(cls, columns: Any) -> Schema:
        """Return what :meth:`to_mapping` wrote, or a person.

        Raises:
            ValueError: It is no such thing; the message says what is wrong with which column.
        """
        if not isinstance(columns, Mapping) or not 0 < len(columns) <= MOST_COLUMNS:
            raise ValueError("it has no columns" if columns in ({}, None) else "it has no table")
        schema = cls(tuple(_column(str(name), facts) for name, facts in columns.items()))
        if schema.width > MOST_FEATURES:
            raise ValueError(f"its columns give {schema.width:,} features")
        return schema


def _column(name: str, facts: Any) -> Column:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the column {name[:40]!r}… has a name that is too long")
    if not isinstance(facts, Mapping):
        raise ValueError(f"the column {name!r} is no table")
    kind, gaps = facts.get("kind"), facts.get("gaps", False)
    if not isinstance(gaps, bool):
        raise ValueError(f"gaps of the column {name!r} must be true or false")
    known = {NUMERIC: {"centre", "scale"}, CATEGORICAL: {"categories"}}
    if not (isinstance(kind, str) and kind in known):
        raise ValueError(f"kind of the column {name!r} must be {NUMERIC} or {CATEGORICAL}")
    if strange := sorted(facts.keys() - known[kind] - {"kind", "gaps"}):
        raise ValueError(f"the column {name!r} has {strange[0]!r}, which {kind} columns do not")
    if kind == CATEGORICAL:
        return CategoryColumn(name, _categories(name, facts.get("categories")), gaps)
    centre, scale = (_number(name, what, facts.get(what)) for what in ("centre", "scale"))
    if not scale > 0:
        raise ValueError(f"scale of the column {name!r} must be above 0")
    return NumericColumn(name, centre, scale, gaps)


def _number(name: str, what: str, value: Any) -> float:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fine and math.isfinite(value) and abs(value) < 1e200):
        raise ValueError(f"{what} of the column {name!r} must be a number")
    return float(value)


def _categories(name: str, values: Any) -> tuple[str, ...]:
    several = isinstance(values, Sequence) and not isinstance(values, str)
    if not several or not 0 < len(values) <= MOST_CATEGORIES:
        raise ValueError(
            f"categories of the column {name!r} must be a list of 1 to {MOST_CATEGORIES:,} texts"
        )
    if not all(isinstance(one, str) and 0 < len(one) <= LONGEST_NAME for one in values):
        raise ValueError(f"categories of the column {name!r} must be texts that are not empty")
    if len({folded_category(one) for one in values}) < len(values):
        raise ValueError(f"the column {name!r} names a category twice")
    return tuple(values)
