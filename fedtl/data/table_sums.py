"""Sums of a table's columns, which is all that sites give for a schema; added, they are exact.

Cells are decimal numbers, and so their sums and sums of squares are decimal numbers with an end.
They are kept whole: whoever adds the sums of several sites, in any order, has the sums of all rows
to the last digit, and so the same schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import reduce

from fedtl.data.cells import number_of
from fedtl.data.column_kinds import (
    CATEGORICAL,
    LEFT_OUT,
    MOST_CATEGORIES,
    NUMERIC,
    ColumnKind,
    category_counts,
    kind_of_column,
)
from fedtl.data.rows import ColumnCounts
from fedtl.data.schema import CategoryColumn, Column, NumericColumn, Schema
from fedtl.errors import UsageError

# No sum of squares of numbers up to 1e100 has more digits.
_EXACT = Context(prec=700)
_SHOWN = Context(prec=4)


@dataclass(frozen=True)
class NumericSums:
    """Sums over the numbers of a column.

    Attributes:
        values: How many rows have a number.
        total: Their sum.
        squares: The sum of their squares.
    """

    values: int
    total: Decimal
    squares: Decimal

    kind = NUMERIC

    @property
    def filled(self) -> int:
        """How many rows have a value."""
        return self.values


@dataclass(frozen=True)
class CategorySums:
    """Rows of each category of a column.

    Attributes:
        counts: How many rows have each.
        rare: How many rows have one that is not named.
    """

    counts: Mapping[str, int]
    rare: int = 0

    kind = CATEGORICAL

    @property
    def filled(self) -> int:
        """How many rows have a value."""
        return sum(self.counts.values()) + self.rare


ColumnSums = NumericSums | CategorySums


@dataclass(frozen=True)
class TableSums:
    """Sums over the rows of a table.

    Attributes:
        rows: How many.
        columns: The sums of each column that is not left out; rows without a value in it are gaps.
    """

    rows: int
    columns: Mapping[str, ColumnSums]

    def __add__(self, other: TableSums) -> TableSums:
        """Return the sums over both; a column that one has not is a gap in all its rows.

        Raises:
            UsageError: A column has numbers in one and categories in the other.
        """
        names = dict.fromkeys((*self.columns, *other.columns))
        return TableSums(
            self.rows + other.rows,
            {name: _added(name, self.columns.get(name), other.columns.get(name)) for name in names},
        )

    def schema(self) -> Schema:
        """Return the schema: the mean and standard deviation of numbers, to four digits.

        A column that is the same in all rows is left out, as no model can learn from it.

        Raises:
            UsageError: No column is left.
        """
        found = [self._column(name, column) for name, column in self.columns.items()]
        columns = tuple(column for column in found if column is not None)
        if not columns:
            raise UsageError(
                "No column of the table has numbers or categories that differ between rows, so "
                "there is nothing to learn from."
            )
        return Schema(columns)

    def _column(self, name: str, column: ColumnSums) -> Column | None:
        gaps = column.filled < self.rows
        if isinstance(column, CategorySums):
            named = tuple(column.counts)
            varies = len(named) + bool(column.rare) + gaps > 1
            return CategoryColumn(name, named, gaps) if named and varies else None
        if not column.values:
            return None
        with localcontext(_EXACT):
            spread = column.values * column.squares - column.total**2
            centre = _SHOWN.create_decimal(column.total / column.values)
            scale = _SHOWN.create_decimal(spread.sqrt() / column.values) if spread > 0 else None
        if scale is None and not gaps:
            return None
        return NumericColumn(name, float(centre), float(scale or 1), gaps)


def sums_of(counts: ColumnCounts, kinds: Mapping[str, ColumnKind]) -> TableSums:
    """Return the sums of some rows.

    Args:
        counts: How often each cell occurs in each column.
        kinds: What each column holds.
    """
    found: dict[str, ColumnSums] = {}
    for name, cells in counts.columns.items():
        if kinds[name].kind == CATEGORICAL:
            found[name] = CategorySums(category_counts(cells))
        elif kinds[name].kind == NUMERIC:
            found[name] = _numeric(cells)
    return TableSums(counts.rows, found)


def kinds_of(counts: ColumnCounts, categories: Iterable[str] = ()) -> dict[str, ColumnKind]:
    """Return what each column holds.

    Args:
        counts: How often each cell occurs in each column.
        categories: Columns of which a person said that they are categories.

    Raises:
        UsageError: One of these has too many.
    """
    named = frozenset(categories)
    return {
        name: kind_of_column(name, cells, category=name in named)
        for name, cells in counts.columns.items()
    }


def sums_to_give(
    counts: ColumnCounts, kinds: Mapping[str, ColumnKind], fewest: int
) -> tuple[TableSums, list[str]]:
    """Return what a site may give, in which nobody stands alone, and columns left out for it.

    A category of fewer rows is not named but counted as rare. A column of fewer numbers is left
    out, and one of two numbers of which one is so rare, since a sum of zeros and ones counts them.

    Args:
        counts: How often each cell occurs in each column.
        kinds: What each column holds.
        fewest: On so many rows anything that is given has to rest.
    """
    given = sums_of(counts, kinds)
    kept: dict[str, ColumnSums] = {}
    for name, column in given.columns.items():
        cells = counts.columns[name]
        if isinstance(column, CategorySums):
            named = {one: count for one, count in column.counts.items() if count >= fewest}
            kept[name] = CategorySums(named, column.filled - sum(named.values()))
        elif column.values >= fewest and not _tells_few(cells, fewest):
            kept[name] = column
    return TableSums(given.rows, kept), [name for name in given.columns if name not in kept]


def _tells_few(cells: Mapping[str, int], fewest: int) -> bool:
    numbers = {one: n for one, n in category_counts(cells).items() if number_of(one) is not None}
    return len(numbers) == 2 and min(numbers.values()) < fewest


def left_out(kinds: Mapping[str, ColumnKind], sums: TableSums) -> dict[str, str]:
    """Return why columns are not in the schema of these sums, by name."""
    kept = {column.name for column in sums.schema().columns}
    return {
        name: kind.why if kind.kind == LEFT_OUT else "the same in all rows"
        for name, kind in kinds.items()
        if name not in kept
    }


def _numeric(cells: Mapping[str, int]) -> NumericSums:
    values, total, squares = 0, Decimal(0), Decimal(0)
    with localcontext(_EXACT):
        for cell, count in cells.items():
            number = number_of(cell)
            if number is not None:
                exact = Decimal(repr(number))
                values += count
                total += count * exact
                squares += count * exact * exact
    return NumericSums(values, total, squares)


def _added(name: str, one: ColumnSums | None, other: ColumnSums | None) -> ColumnSums:
    if one is None or other is None:
        found = one or other
        assert found is not None
        return found
    if isinstance(one, NumericSums) and isinstance(other, NumericSums):
        with localcontext(_EXACT):
            total, squares = one.total + other.total, one.squares + other.squares
        return NumericSums(one.values + other.values, total, squares)
    if isinstance(one, CategorySums) and isinstance(other, CategorySums):
        both = reduce(_counted, (one.counts, other.counts), dict[str, int]())
        counts = category_counts(both)
        if len(counts) > MOST_CATEGORIES:
            raise UsageError(
                f"The column {name!r} has {len(counts):,} categories at all sites together, but at "
                f"most {MOST_CATEGORIES:,} are possible; leave it out (--ignored-columns {name})."
            )
        return CategorySums(counts, one.rare + other.rare)
    raise UsageError(
        f"The column {name!r} has numbers at one site and categories at another; describe it with "
        f"--category-columns {name} at each, or leave it out with --ignored-columns {name}."
    )


def _counted(found: dict[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    for category, count in counts.items():
        found[category] = found.get(category, 0) + count
    return found
