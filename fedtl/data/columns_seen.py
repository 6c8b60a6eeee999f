"""What the columns of a table's rows hold, for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.cells import number_of
from fedtl.data.column_kinds import CATEGORICAL, LEFT_OUT, NUMERIC, ColumnKind, category_counts
from fedtl.data.dataset import Dataset
from fedtl.data.row_numbers import RowNumbers
from fedtl.data.rows import Row, Rows, column_counts
from fedtl.data.schema import Schema
from fedtl.data.table_sums import TableSums, kinds_of, sums_of
from fedtl.errors import UsageError


@dataclass(frozen=True)
class ColumnSeen:
    """A column.

    Attributes:
        name: Its name.
        kind: ``numeric``, ``categorical`` or ``left out``.
        why: Why it is left out; else empty.
        low: The smallest number; ``None`` for others.
        high: The largest.
        categories: How many rows have each category, most frequent first; empty for others.
        different: How many different values there are.
        gaps: How many rows have no value.
        hint: What a person should know of it, a sentence; may be empty.
    """

    name: str
    kind: str
    why: str
    low: float | None
    high: float | None
    categories: dict[str, int]
    different: int
    gaps: int
    hint: str


def columns_seen(dataset: Dataset) -> list[ColumnSeen]:
    """Return what each column of a data set of rows holds, all rows counted.

    Raises:
        UsageError: A person said of a column that it is categorical, and it has too many.
    """
    assert not isinstance(dataset.inputs, np.ndarray)
    counts = column_counts(dataset.inputs, range(len(dataset)))
    kinds = kinds_of(counts, getattr(dataset.inputs, "category_columns", ()))
    schema: Schema | None = getattr(dataset.inputs, "schema", None)
    if schema is not None:
        kinds = {name: ColumnKind(facts["kind"]) for name, facts in schema.to_mapping().items()}
    found = []
    for name, kind in kinds.items():
        cells: Mapping[str, int] = counts.columns.get(name, {})
        values = [number for cell in cells if (number := number_of(cell)) is not None]
        numeric = kind.kind == NUMERIC
        filled = sum(n for cell, n in cells.items() if not numeric or number_of(cell) is not None)
        named = category_counts(cells) if kind.kind == CATEGORICAL else {}
        different = len(set(values)) if numeric else len(named or cells)
        same = kind.kind != LEFT_OUT and different == 1 and filled == counts.rows and not schema
        found.append(
            ColumnSeen(
                name=name,
                kind=LEFT_OUT if same else kind.kind,
                why="the same in all rows" if same else kind.why,
                low=min(values) if numeric and values else None,
                high=max(values) if numeric and values else None,
                categories=dict(sorted(named.items(), key=lambda one: -one[1])),
                different=different,
                gaps=counts.rows - filled,
                hint=kind.hint,
            )
        )
    return found


def row_traits(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return numbers that tell rows of one site from those of another, shape ``(n, t)``."""
    cells = {name: [row.cells.get(name) for row in rows] for name in rows[0].cells}
    counts = column_counts(Rows(cells), range(len(rows)))
    sums: TableSums = sums_of(counts, kinds_of(counts))
    try:
        numbers = RowNumbers(sums.schema())
    except UsageError:
        return np.zeros((len(rows), 1))
    width = sums.schema().width
    return np.array([np.zeros(width) if one is None else one for one in map(numbers.of, rows)])
