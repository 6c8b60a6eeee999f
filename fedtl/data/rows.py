"""Rows of a table as inputs: the cells of each by the name of their column."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtl.data.cells import is_gap
from fedtl.data.class_names import named
from fedtl.data.column_kinds import CATEGORICAL
from fedtl.data.input_kinds import TABLE_ROW
from fedtl.data.number_notation import Cells, with_decimal_points
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.wording import count_of

if TYPE_CHECKING:
    from fedtl.data.schema import Schema

EMPTY_ROW = "a row without any value"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: The text of each cell by the name of its column, in the table's order; a gap is
            ``None``. Numbers have a decimal point.
    """

    cells: Mapping[str, str | None]


class Rows:
    """Rows held in memory: see :class:`~fedtl.data.dataset.Items`.

    Args:
        columns: The cells of each column by its name, all of one length; see :class:`Row`.
        schema: What all sites agreed on that columns are; ``None`` to find it.
        category_columns: Columns that are categories though they hold numbers.
    """

    kind = TABLE_ROW

    def __init__(
        self,
        columns: Mapping[str, Cells],
        schema: Schema | None = None,
        category_columns: Iterable[str] = (),
    ) -> None:
        self._columns = dict(columns)
        self.schema = schema
        self.category_columns = frozenset(category_columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the names of the columns and of the row's cells."""
        cells = [(name, column[index]) for name, column in self._columns.items()]
        return hashlib.sha256(json.dumps(cells).encode()).digest()

    def load(self, index: int) -> Row:
        """Return the row.

        Raises:
            UnreadableImageError: All its cells are gaps.
        """
        cells = {name: column[index] for name, column in self._columns.items()}
        if all(cell is None for cell in cells.values()):
            raise UnreadableImageError(EMPTY_ROW)
        return Row(cells)

    def counts(self, rows: Iterable[int]) -> ColumnCounts:
        """Return what :func:`column_counts` does, column by column."""
        wanted = np.fromiter(rows, np.int64)
        there = [np.array([cell is not None for cell in cells]) for cells in self._columns.values()]
        wanted = wanted[np.any(there, axis=0)[wanted]] if there else wanted[:0]
        of_column = {
            name: Counter(map(cells.__getitem__, wanted.tolist()))
            for name, cells in self._columns.items()
        }
        return ColumnCounts(
            len(wanted),
            {
                name: Counter({cell: n for cell, n in counts.items() if cell is not None})
                for name, counts in of_column.items()
            },
        )


def without_gaps(cells: Cells) -> Cells:
    """Return cells with ``None`` for all that stands for no value."""
    return [None if cell is None or is_gap(cell) else cell for cell in cells]


def cells_of(
    path: object, table: Mapping[str, Cells], names: Iterable[str], categories: Iterable[str] = ()
) -> tuple[dict[str, Cells], list[str]]:
    """Return the named columns of a table with gaps as ``None`` and decimal points, and notes.

    Args:
        path: The table, for messages.
        table: All its columns.
        names: Those of the rows.
        categories: Those whose cells stay as they are.

    Raises:
        UsageError: Numbers can be read in two ways.
    """
    asis = frozenset(categories)
    found = {name: without_gaps(table[name]) for name in names}
    plain, notes = with_decimal_points(path, {k: v for k, v in found.items() if k not in asis})
    return {name: plain.get(name, cells) for name, cells in found.items()}, notes


def rows_by_schema(
    path: object, table: Mapping[str, Cells], schema: Schema, file: str = ""
) -> tuple[dict[str, Cells], list[str]]:
    """Return those columns of a table that a schema has, as :func:`cells_of` does.

    Args:
        path: Where the table is.
        table: Its columns.
        schema: The schema.
        file: Where it is; empty if a finished run holds it.

    Raises:
        UsageError: The table has no more than half of them, or numbers can be read in two ways.
    """
    kinds = {name: facts["kind"] for name, facts in schema.to_mapping().items()}
    there = [name for name in kinds if name in table]
    if 2 * len(there) <= len(kinds):
        absent = [name for name in kinds if name not in table]
        remedy = "name another --table-schema, or leave it out"
        raise UsageError(
            f"{path} has {len(there) or 'none'} of the {count_of(len(kinds), 'column')} of "
            f"{file or 'the run'}, and thus seems to hold other data (missing: {named(absent)}); "
            + (remedy if file else "give a table of the columns that the run was trained on")
        )
    return cells_of(path, table, there, [name for name in there if kinds[name] == CATEGORICAL])


@dataclass(frozen=True)
class ColumnCounts:
    """How often each cell occurs in each column of some rows.

    Attributes:
        rows: How many rows.
        columns: For each column, the cells that are not gaps, and how many rows have each.
    """

    rows: int
    columns: Mapping[str, Counter[str]]


def column_counts(items: Any, rows: Iterable[int]) -> ColumnCounts:
    """Return the counts of some rows; rows that cannot be read do not count.

    Args:
        items: Rows; see :class:`~fedtl.data.dataset.Items`.
        rows: Which of them.
    """
    if isinstance(items, Rows):
        return items.counts(rows)
    count = 0
    found: dict[str, Counter[str]] = {}
    for index in rows:
        try:
            row: Row = items.load(index)
        except UnreadableImageError:
            continue
        count += 1
        for name, cell in row.cells.items():
            column = found.setdefault(name, Counter())
            if cell is not None:
                column[cell] += 1
    return ColumnCounts(count, found)
