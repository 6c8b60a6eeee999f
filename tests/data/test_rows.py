"""Rows of tables as inputs: which columns they have, how cells are read, what is refused."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedtl.config import RunConfig
from fedtl.data.cells import category_of, number_of
from fedtl.data.column_kinds import kind_of_column
from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import TABLE_ROW, kind_of
from fedtl.data.number_notation import with_decimal_points
from fedtl.data.rows import Row, Rows, column_counts
from fedtl.data.sources import open_dataset
from fedtl.errors import UnreadableImageError, UsageError

GAPS = ("", "?", "NA", "N/A", "nan", "null", "#N/A", " NaN ")


def _write(path: Path, columns: dict[str, list[str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def _open(path: Path, **options: str) -> Dataset:
    given = {key.replace("_", "-"): value for key, value in options.items()}
    return open_dataset(RunConfig(data=str(path), options=tuple(sorted(given.items()))))


def _row(dataset: Dataset, index: int) -> Row:
    assert not isinstance(dataset.inputs, np.ndarray)
    found: Row = dataset.inputs.load(index)
    return found


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    columns = {
        "patient_no": [str(100 + k) for k in range(16)],
        "hospital": ["east", "west"] * 8,
        "age": [str(40 + k) for k in range(16)],
        "crp": [*GAPS, *(f"{k}.5" for k in range(8))],
        "smoker": ["TRUE", "false"] * 8,
        "label": ["ill", "well", "well", "ill"] * 4,
    }
    return _write(tmp_path / "ward.csv", columns)


def test_a_row_is_all_columns_that_say_nothing_else(ward: Path) -> None:
    found = _open(ward, ignored_columns="patient_no")
    assert (kind_of(found.inputs), found.unit, len(found)) == (TABLE_ROW, "row", 16)
    assert _row(found, 9).cells == {"age": "49", "crp": "1.5", "smoker": "false"}
    assert found.sites is not None and set(found.sites.tolist()) == {"east", "west"}
    assert found.classes == ("ill", "well")
    assert "not used: patient_no" in found.notes[0]
    # All that stands for no value is a gap.
    assert [_row(found, at).cells["crp"] for at in range(8)] == [None] * 8


def test_a_digest_is_of_names_and_cells(ward: Path, tmp_path: Path) -> None:
    inputs = _open(ward).inputs
    assert not isinstance(inputs, np.ndarray)
    assert len({inputs.digest(at) for at in range(16)}) == 16
    again = _open(ward).inputs
    other = _open(ward, ignored_columns="patient_no").inputs
    assert not isinstance(again, np.ndarray) and not isinstance(other, np.ndarray)
    assert again.digest(3) == inputs.digest(3) != other.digest(3)
    assert Rows({"a": ["1"]}).digest(0) != Rows({"b": ["1"]}).digest(0)


def test_cells_are_counted_in_rows_that_can_be_read() -> None:
    rows = Rows({"a": ["1", None, "1", "2"], "b": [None, None, "x", "x"]})

    class OneByOne:
        kind = TABLE_ROW

        def load(self, index: int) -> Row:
            return rows.load(index)

    for items in (rows, OneByOne()):
        found = column_counts(items, [0, 1, 2])
        assert found.rows == 2
        assert found.columns == {"a": Counter({"1": 2}), "b": Counter({"x": 1})}


def test_a_row_of_gaps_cannot_be_read(tmp_path: Path) -> None:
    columns = {"a": ["1", "?", "3", "4"], "b": ["", "NA", "x", ""], "label": [*"uvuv"]}
    found = _open(_write(tmp_path / "t.csv", columns))
    with pytest.raises(UnreadableImageError, match="a row without any value"):
        _row(found, 1)
    assert _row(found, 0).cells == {"a": "1", "b": None}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"ignored_columns": "agee"},
            r"no column 'agee' \(--ignored-columns\); did you mean 'age'",
        ),
        ({"category_columns": "x"}, r"no column 'x' \(--category-columns\)"),
        ({"ignored_columns": "age,patient_no,crp,smoker"}, "has no column beside"),
        ({"table_schema": "absent.toml"}, "absent.toml cannot be read: No such file"),
        ({"table_schema": "a", "category_columns": "age"}, "leave one of them out"),
        ({"category_columns": "age", "text_column": "crp"}, "is for rows.*--text-column none"),
        ({"table_schema": "a", "text_column": "crp"}, "table-schema is for rows"),
    ],
)
def test_mistakes_are_told_in_a_sentence(options: dict[str, str], told: str, ward: Path) -> None:
    with pytest.raises(UsageError, match=told):
        _open(ward, **options)


def test_several_columns_of_texts_are_asked_about(tmp_path: Path) -> None:
    columns = {"review": [*"abcd"], "comment": [*"efgh"], "label": [*"xyxy"]}
    path = _write(tmp_path / "t.csv", columns)
    with pytest.raises(UsageError, match="--text-column NAME, or none to read whole rows"):
        _open(path)
    assert _open(path, text_column="none").unit == "row"
    assert _open(path, ignored_columns="comment").unit == "text"


@pytest.mark.parametrize(
    ("cell", "number"),
    [("3", 3.0), ("-2.50", -2.5), ("1e-3", 0.001), (".5", 0.5), ("+7.", 7.0)]
    + [
        (cell, None) for cell in ("<0.1", "120 mg", "1_000", "inf", "nan", "٣", "1e999", "0x1f", "")
    ],
)
def test_what_is_a_number(cell: str, number: float | None) -> None:
    assert number_of(cell) == number


def test_categories_have_one_spelling() -> None:
    assert [category_of(cell) for cell in ("3.0", "3", "TRUE", " a  b ", "A43", "03")] == [
        *("3", "3", "true", "a b", "A43", "3")
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": ["3,5", "4"]}, {"a": ["3.5", "4"]}),
        ({"a": ["1.234,5", "7,25", None]}, {"a": ["1234.5", "7.25", None]}),
        ({"a": ["1 234,5", "0,125"]}, {"a": ["1234.5", "0.125"]}),
        ({"a": ["1,234,567", "1,234"]}, {"a": ["1234567", "1234"]}),
        ({"a": ["1,234.5", "7"]}, {"a": ["1234.5", "7"]}),
        # What a comma is, and a point, another column may say.
        ({"a": ["1,234"], "b": ["0,5"]}, {"a": ["1.234"], "b": ["0.5"]}),
        ({"a": ["1,234"], "b": ["9,999,999"]}, {"a": ["1234"], "b": ["9999999"]}),
        ({"a": ["1.234", "950"], "b": ["0,5", "2"]}, {"a": ["1234", "950"], "b": ["0.5", "2"]}),
        ({"a": ["1.2", "950"], "b": ["0,5", "2"]}, {"a": ["1.2", "950"], "b": ["0.5", "2"]}),
        ({"a": ["1.234", "9.5"], "b": ["0,5", "2"]}, {"a": ["1.234", "9.5"], "b": ["0.5", "2"]}),
        # A unit that all cells have; codes stay codes, and words stay words.
        ({"a": ["120 mg", "80.5 mg"]}, {"a": ["120", "80.5"]}),
        ({"a": ["45%", "7,5 %"]}, {"a": ["45", "7.5"]}),
        ({"a": ["€ 1.200,50", "€ 3"]}, {"a": ["1200.50", "3"]}),
        ({"a": ["120 mg", "2 g"]}, {"a": ["120 mg", "2 g"]}),
        ({"a": ["A11", "A34"], "b": ["x", "1,5 or"]}, {"a": ["A11", "A34"], "b": ["x", "1,5 or"]}),
        ({"a": ["1,5", "b", "c"]}, {"a": ["1,5", "b", "c"]}),
        ({"a": ["Type 1,5", "b", "c"]}, {"a": ["Type 1,5", "b", "c"]}),
    ],
)  # fmt: skip
def test_numbers_are_written_as_python_does(
    columns: dict[str, list[str | None]], expected: dict[str, list[str | None]]
) -> None:
    assert with_decimal_points("t.csv", columns)[0] == expected


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"a": ["1,234", "7"]}, "'1,234', which may be 1.234 or 1234.*--ignored-columns a"),
        ({"a": ["1,5", "1,234.5"]}, "'1,5' and '1,234.5'.*write all its numbers alike"),
        ({"a": ["1,234"], "b": ["0,5"], "c": ["1,234.5"]}, "which may be 1.234 or 1234"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(columns: dict[str, list[str]], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        with_decimal_points("t.csv", columns)


def test_a_column_of_codes_is_not_asked_about(tmp_path: Path) -> None:
    columns = {"a": ["1,234", "2,345"] * 2, "b": [*"1234"], "label": [*"xyxy"]}
    path = _write(tmp_path / "t.csv", columns)
    found = _open(path, category_columns="a")
    assert _row(found, 0).cells == {"a": "1,234", "b": "1"}
    assert _row(_open(path, ignored_columns="a"), 0).cells == {"b": "1"}


SENTENCES = [f"the patient came back on day {k} and was well" for k in range(80)]


@pytest.mark.parametrize(
    ("name", "cells", "kind", "told"),
    [
        ("age", ["1", "2.5", "-3"], "numeric", ""),
        ("crp", [*map(str, range(18)), "<0.1"], "numeric", ""),
        ("crp", [*map(str, range(8)), "<0.1"], "categorical", ""),
        ("sex", ["m", "f", "m"], "categorical", ""),
        ("b", ["True", "FALSE"], "categorical", ""),
        ("seen", ["2020-01-31", "2020-02-01 10:00"] * 9, "left out", "dates"),
        ("seen", ["31.1.2020", "1/2/20"] * 9, "left out", "dates"),
        ("at", ["10:30", "11:00:05"] * 9, "left out", "dates"),
        ("a", [], "left out", "no value"),
        ("who", [f"name {k}" for k in range(70)], "left out", "names or identifiers"),
        # Names of as many people are names even where they are few.
        ("who", [f"name {k}" for k in range(20)], "left out", "names or identifiers"),
        ("why", SENTENCES, "left out", "--text-column why"),
        ("patientId", [*map(str, range(20))], "numeric", "looks like an identifier"),
        ("Unnamed: 0", [*map(str, range(20))], "numeric", "looks like an identifier"),
        ("column 1", [*map(str, range(20))], "numeric", "looks like an identifier"),
        ("id", ["1", "1", *map(str, range(20))], "numeric", ""),
        ("weight", [*map(str, range(20))], "numeric", ""),
        ("idle", [*map(str, range(20))], "numeric", ""),
    ],
)
def test_what_a_column_holds(name: str, cells: list[str], kind: str, told: str) -> None:
    found = kind_of_column(name, Counter(cells))
    assert found.kind == kind
    assert told in f"{found.why} {found.hint}"
    if not told:
        assert (found.why, found.hint) == ("", "")


def test_numbers_are_categories_if_a_person_says_so() -> None:
    cells = Counter(map(str, range(200)))
    assert kind_of_column("zip", cells, category=True).kind == "categorical"
    with pytest.raises(UsageError, match="at most 1,000 categories"):
        kind_of_column("zip", Counter(map(str, range(1001))), category=True)


def test_columns_without_a_name_are_called_by_their_place(tmp_path: Path) -> None:
    """As pandas writes a table with the numbers of its rows, and spreadsheets with empty ends."""
    path = tmp_path / "t.csv"
    path.write_text(",a,label,,\n0,5,x,,\n1,6,y,,\n2,7,x,,\n3,8,y,,\n")
    found = _open(path)
    assert _row(found, 1).cells == {"column 1": "1", "a": "6", "column 4": None, "column 5": None}
    assert _row(_open(path, ignored_columns="column 1"), 1).cells["a"] == "6"


def test_a_gap_is_no_label_and_no_site(tmp_path: Path) -> None:
    columns = {"a": [*"123456"], "site": ["u", "v", "NA", "u", "v", "u"], "label": [*"xyxy?x"]}
    found = _open(_write(tmp_path / "t.csv", columns))
    assert found.classes == ("x", "y")
    assert found.keys == ["row 1", "row 2", "row 4", "row 6"]
    assert "2 rows of t.csv are left aside, as they lack a label or a site, first row 3" in (
        " ".join(found.notes)
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame(
        {
            "age": [40.0, None, 42.5, 43.0],
            "n": pd.array([1, 2, None, 3], dtype="Int64"),
            "smokes": pd.array([True, False, None, True], dtype="boolean"),
            "label": ["x", "y", "x", "y"],
        }
    )
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False)
    found = _open(path)
    cells = [_row(found, at).cells for at in range(4)]
    told = [
        tuple(None if cell is None else category_of(cell) for cell in one.values()) for one in cells
    ]
    assert told == [
        ("40", "1", "true"),
        (None, "2", "false"),
        ("42.5", None, None),
        ("43", "3", "true"),
    ]
