"""The schema of rows of a table: given by a person, or found where all clients' rows are."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from fedtl.data.cells import category_of, folded_category, number_of
from fedtl.data.column_kinds import ColumnKind
from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import TABLE_ROW, kind_of
from fedtl.data.rows import ColumnCounts, column_counts
from fedtl.data.schema import NumericColumn, Schema
from fedtl.data.table_sums import kinds_of, left_out, sums_of
from fedtl.errors import UsageError

_MOST_NAMED = 12


def agreed_schema(dataset: Dataset, *, everybody: bool) -> tuple[Schema | None, list[str]]:
    """Return the schema of a data set's rows, and what to tell of it, a sentence each.

    It is ``None`` for inputs of other kinds. A schema that is found rests on training rows alone,
    neither on the test part nor on the holdout-site.

    Args:
        dataset: The data.
        everybody: Whether they are all clients'; one site's own cannot say what others' are.

    Raises:
        UsageError: It has to be given, or no column can be used.
    """
    items = dataset.inputs
    if isinstance(items, np.ndarray) or kind_of(items) != TABLE_ROW:
        return None, []
    given: Schema | None = getattr(items, "schema", None)
    if given is not None:
        counts = column_counts(items, range(len(items)))
        return given, [_told(given, dataset.name), *fit_notes(given, counts, dataset.name)]
    if not everybody:
        raise UsageError(
            f"{dataset.name} holds rows of a table, and all sites must turn them into numbers "
            "alike: each site writes its sums (python -m fedtl.describe --data TABLE "
            "--write-schema FILE), python -m fedtl.agree adds them, and the node config names the "
            "result: set = 'table-schema=FILE'"
        )
    counts = column_counts(items, dataset.training.tolist())
    kinds = kinds_of(counts, getattr(items, "category_columns", ()))
    sums = sums_of(counts, kinds)
    schema = sums.schema()
    notes = [_told(schema, dataset.name)]
    if without := left_out(kinds, sums):
        notes.append(_without(dataset.name, without, kinds))
    notes += [kind.hint for kind in kinds.values() if kind.hint]
    everywhere = column_counts(items, range(len(items)))
    return schema, notes + fit_notes(schema, everywhere, dataset.name)


def _told(schema: Schema, name: str) -> str:
    """Return a sentence on what the columns are that are inputs."""
    numbers = [one.name for one in schema.columns if isinstance(one, NumericColumn)]
    categories = [one.name for one in schema.columns if not isinstance(one, NumericColumn)]
    both = (("numbers", numbers), ("categories", categories))
    parts = [f"of {what} {_named(names)}" for what, names in both if names]
    return f"{name}: columns that are inputs: {'; '.join(parts)}"


def _named(names: Collection[str]) -> str:
    count = _MOST_NAMED + (len(names) == _MOST_NAMED + 1)
    more = len(names) - count
    return ", ".join(list(names)[:count]) + (f" and {more:,} more" if more > 0 else "")


def _without(name: str, without: Mapping[str, str], kinds: Mapping[str, ColumnKind]) -> str:
    """Return a sentence on the columns that are left out, and why."""
    several = _named([f"{column} ({why})" for column, why in without.items()])
    dates = any(kinds[column].why == "dates" for column in without if column in kinds)
    remedy = "; turn dates into numbers, such as an age or days since" if dates else ""
    return f"columns of {name} that are no input: {several}{remedy}"


def fit_notes(schema: Schema, counts: ColumnCounts, name: str) -> list[str]:
    """Return what of some rows a schema does not know, a sentence each.

    Args:
        schema: The schema.
        counts: How often each cell occurs in each column of the rows.
        name: What the data are called.
    """
    absent, notes = [], []
    for column in schema.columns:
        cells = counts.columns.get(column.name)
        if cells is None:
            absent.append(column.name)
            continue
        if isinstance(column, NumericColumn):
            strange = {cell: n for cell, n in cells.items() if number_of(cell) is None}
            what = "no numbers and count as gaps"
        else:
            names = {folded_category(one) for one in column.categories}
            meant = {cell: folded_category(category_of(cell)) for cell in cells}
            strange = {cell: n for cell, n in cells.items() if meant[cell] not in names}
            what = "categories that the schema does not know and count as none of them"
        if strange:
            count, most = sum(strange.values()), max(strange, key=lambda cell: strange[cell])
            notes.append(
                f"{count:,} of {cells.total():,} cells of the column {column.name!r} are {what}, "
                f"such as {most[:40]!r}"
            )
    if absent:
        notes.append(f"{name} lacks columns of the schema, which count as gaps: {_named(absent)}")
    return notes
