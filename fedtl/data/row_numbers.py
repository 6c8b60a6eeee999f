"""A row of a table as numbers: a pure function of the row and the schema."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.cells import category_of, folded_category, number_of
from fedtl.data.rows import Row
from fedtl.data.schema import CategoryColumn, NumericColumn, Schema

FURTHEST = 10.0
"""In standard deviations: a number that is further off, as by a slip, counts as this."""


class RowNumbers:
    """Standardises numbers, and gives each category a feature of its own.

    A gap is the centre of a column of numbers, or no category; where the schema knows of gaps, a
    feature more says that there is one. A category that the schema does not know is none, too.

    Args:
        schema: The columns.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._places = [
            {folded_category(one): place for place, one in enumerate(column.categories)}
            if isinstance(column, CategoryColumn)
            else {}
            for column in schema.columns
        ]

    def of(self, row: Row) -> NDArray[np.float64] | None:
        """Return a row's numbers, shape ``(width of the schema,)``; ``None`` if all are gaps."""
        found = np.zeros(self._schema.width)
        at, filled = 0, False
        for column, places in zip(self._schema.columns, self._places, strict=True):
            cell = row.cells.get(column.name)
            gap = cell is None
            if cell is not None and isinstance(column, NumericColumn):
                number = number_of(cell)
                gap = number is None
                if number is not None:
                    z = (number - column.centre) / column.scale
                    found[at] = min(max(z, -FURTHEST), FURTHEST)
            elif cell is not None:
                place = places.get(folded_category(category_of(cell)))
                if place is not None:
                    found[at + place] = 1
            if gap and column.gaps:
                found[at + column.width - 1] = 1
            filled |= not gap
            at += column.width
        return found if filled else None
