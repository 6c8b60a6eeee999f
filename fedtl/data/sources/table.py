"""``--data reviews.csv``: labelled texts of a table, or its rows; CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.cells import number_of
from fedtl.data.class_names import named
from fedtl.data.dataset import Dataset, Items
from fedtl.data.left_aside import LeftAside
from fedtl.data.number_notation import Cells
from fedtl.data.rows import Rows, cells_of, rows_by_schema, without_gaps
from fedtl.data.schema import Schema
from fedtl.data.schema_file import read_schema
from fedtl.data.sources.base import Source
from fedtl.data.split_names import EXAMPLES, UNLABELLED, split_role, test_rows
from fedtl.data.table_columns import Columns, check_column, columns_of, listed_columns
from fedtl.data.table_file import read_table
from fedtl.data.texts import Texts
from fedtl.errors import UsageError
from fedtl.options import Options, Text

_SAYS = ("text", "label", "site", "group", "split")
# Numbers as labels are classes if they are fewer, or each has as many rows.
_FEWEST_QUANTITIES = 20
_ORDINARY = "found by its name; none for none."


class Table(Source):
    """Labelled texts or rows, a line each, of a CSV, TSV, JSON lines or Parquet file.

    Attributes:
        schema: What a finished run's columns are, for rows that it is to be scored on.
    """

    schema: Schema | None = None
    options = Options(
        text_column=Text("", f"Column of the text to be classified; {_ORDINARY}"),
        label_column=Text("", "Column of the class; found by its name."),
        site_column=Text("", f"Column of the site; {_ORDINARY}"),
        group_column=Text("", f"Column of what belongs together, such as a patient; {_ORDINARY}"),
        split_column=Text("", f"Column of train, val and test; {_ORDINARY}"),
        ignored_columns=Text("", "Columns that are not read, separated by commas."),
        category_columns=Text(
            "", "Of rows, columns of numbers that stand for categories, separated by commas."
        ),
        table_schema=Text(
            "", "Of rows, the file of what columns are that all sites share; found in a simulation."
        ),
    )

    def open(self) -> Dataset:
        """See :class:`Source`."""
        path = Path(self.argument).expanduser()
        if not path.is_file():
            raise UsageError(f"--data {self.argument}: there is no such file")
        table: Mapping[str, Cells] = read_table(path)
        asked = {what: getattr(self.options, f"{what}_column") for what in _SAYS}
        ignored = listed_columns(self.options.ignored_columns)
        columns = columns_of(path, list(table), asked, ignored=ignored)
        if not columns.label:
            raise UsageError(
                f"label-column = {self.options.label_column}, but {path} is to be learnt from, "
                "which needs labels; name the column of the classes: --label-column NAME"
            )
        cells: dict[str, Cells] = {
            what: table[name] for what in _SAYS if (name := getattr(columns, what))
        }
        if not columns.text:
            cells = {what: without_gaps(column) for what, column in cells.items()}
        needed = [what for what in ("text", "label", "site") if what in cells]
        left = [
            (row, next(what for what in needed if cells[what][row] is None))
            for row in range(len(cells["label"]))
            if any(cells[what][row] is None for what in needed)
        ]
        kept = np.setdiff1d(
            np.arange(len(cells["label"])), np.array([row for row, _ in left], np.int64)
        )
        if not len(kept):
            raise UsageError(f"{path}: no row has {' and '.join(needed)}")
        if columns.text:
            self._refuse_options_of_rows(columns.text)
            texts = Texts([str(cells["text"][row]) for row in kept])
            return _dataset(path, columns, texts, cells, kept, left)
        rows, notes = self._rows(path, columns, table, kept)
        return _dataset(path, columns, rows, cells, kept, left, notes)

    def _refuse_options_of_rows(self, text: str) -> None:
        for what in ("category_columns", "table_schema"):
            if getattr(self.options, what):
                key = what.replace("_", "-")
                raise UsageError(
                    f"{key} is for rows, but the column {text!r} of {self.argument} holds texts to "
                    f"be classified; leave {key} out, or read whole rows: --text-column none"
                )

    def _rows(
        self, path: Path, columns: Columns, table: Mapping[str, Cells], kept: NDArray[np.int64]
    ) -> tuple[Rows, list[str]]:
        """Return the rows that are kept, and what to tell of how they were read."""
        if not columns.others:
            raise UsageError(f"{path} has no column beside {', '.join(columns.said)}")
        categories = listed_columns(self.options.category_columns)
        for name in categories:
            check_column(path, name, columns.others, "--category-columns")
        file = self.options.table_schema
        if file and categories:
            raise UsageError(
                f"category-columns = {self.options.category_columns} is without effect, as the "
                f"schema {file} says which columns are categories; leave one of them out"
            )
        schema = read_schema(Path(file).expanduser()) if file else self.schema
        if schema is None:
            found, notes = cells_of(path, table, columns.others, categories)
        else:
            inputs = {name: table[name] for name in columns.others}
            # What a finished run's rows have besides its columns is no concern of its schema.
            found, notes = rows_by_schema(path, inputs, schema, file)
            known = {column.name for column in schema.columns}
            if file and (unknown := [name for name in columns.others if name not in known]):
                notes.append(f"columns that {file} does not have are not used: {named(unknown)}")
        of_kept = {name: [cells[row] for row in kept] for name, cells in found.items()}
        return Rows(of_kept, schema, categories), [f"{path.name}: {note}" for note in notes]


SOURCE = Table


def _dataset(
    path: Path,
    columns: Columns,
    inputs: Items,
    cells: Mapping[str, Cells],
    kept: NDArray[np.int64],
    left: Sequence[tuple[int, str]],
    further: Sequence[str] = (),
) -> Dataset:
    """Return the rows that have all that is needed; the others are left aside."""
    of_kept = {
        what: [str(column[row] or "") for row in kept]
        for what, column in cells.items()
        if what != "text"
    }
    classes, labels = np.unique(of_kept["label"], return_inverse=True)
    _refuse_quantities(path, classes.tolist(), len(kept))
    notes = [f"{path.name}: {columns.told}"] if columns.told else []
    notes += further
    groups = None
    if "group" in of_kept:
        named = zip(of_kept["group"], kept, strict=True)
        groups = np.array([name or f"row {row + 1}" for name, row in named])
    if left:
        row, what = left[0]
        lacking = "a text, a label or a site" if columns.text else "a label or a site"
        notes.append(
            f"{len(left):,} rows of {path.name} are left aside, as they lack {lacking}, first row "
            f"{row + 1}, which has no {what}"
        )
    aside = [LeftAside(f"row {row + 1}", f"without {what}", told=True) for row, what in left]
    return Dataset(
        name=path.stem,
        classes=tuple(map(str, classes)),
        labels=labels.astype(np.int64),
        inputs=inputs,
        test=_test(path, of_kept.get("split"), len(kept)),
        sites=np.array(of_kept["site"]) if "site" in of_kept else None,
        keys=[f"row {row + 1}" for row in kept],
        groups=groups,
        notes=tuple(notes),
        left_aside=tuple(aside),
    )


def _refuse_quantities(path: Path, classes: Sequence[str], rows: int) -> None:
    """Refuse labels that are measured, such as an age.

    Raises:
        UsageError: They are many different numbers of few rows each.
    """
    many = len(classes) >= _FEWEST_QUANTITIES and rows < _FEWEST_QUANTITIES * len(classes)
    numbers = [number for name in classes if (number := number_of(name)) is not None]
    if many and len(numbers) == len(classes) and not _count_classes(numbers):
        raise UsageError(
            f"{path}: the label has {len(classes):,} different numbers in {rows:,} rows, and fedtl "
            "tells classes apart; make ranges of them, such as low and high, or, if each is a "
            "class, put a letter before them"
        )


def _count_classes(numbers: Sequence[float]) -> bool:
    """Return whether numbers are those of classes: whole, from about 0 on, and few left out."""
    near = 10 * min(numbers) <= len(numbers) and max(numbers) < 2 * len(numbers)
    return near and min(numbers) >= 0 and all(map(float.is_integer, numbers))


def _test(path: Path, splits: list[str] | None, count: int) -> NDArray[np.bool_]:
    """Return which rows are the test split.

    Raises:
        UsageError: A split is called as none is.
    """
    if splits is None:
        return np.zeros(count, np.bool_)
    for row, split in enumerate(splits):
        if split_role(split) in ("", UNLABELLED):
            raise UsageError(
                f"{path}: split {split!r} in the {row + 1}. row with a label, but splits are "
                f"called {EXAMPLES}; --split-column none leaves the column out"
            )
    return test_rows(np.array([split_role(split) for split in splits]))
