"""A table's schema: exact from sums however rows lie, written, read, checked, and what it makes."""

from __future__ import annotations

import statistics
from collections import Counter
from decimal import Decimal
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtl.data.column_kinds import ColumnKind
from fedtl.data.row_numbers import RowNumbers
from fedtl.data.rows import ColumnCounts, Row, Rows, column_counts
from fedtl.data.schema import CategoryColumn, NumericColumn, Schema
from fedtl.data.schema_file import read_schema, read_sums, write_schema, write_sums
from fedtl.data.table_sums import TableSums, kinds_of, sums_of, sums_to_give
from fedtl.errors import UsageError

KINDS = {"x": ColumnKind("numeric"), "c": ColumnKind("categorical")}
SCHEMA = Schema(
    (
        NumericColumn("age", 50.0, 10.0),
        CategoryColumn("cp", ("1", "2", "Typ a"), gaps=True),
        NumericColumn("crp", 3.0, 0.5, gaps=True),
    )
)


def _sums(rows: list[tuple[str | None, str | None]]) -> TableSums:
    columns = {"x": [row[0] for row in rows], "c": [row[1] for row in rows]}
    return sums_of(column_counts(Rows(columns), range(len(rows))), KINDS)


NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-1000, 1000, places=2).map(str),
    st.floats(-1e90, 1e90).map(repr),
    st.none(),
)
CATEGORIES = st.sampled_from(["red", "Red", "blue", "7", "7.0", None])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sums_of_sites_give_the_schema_of_all_rows(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(NUMBERS, CATEGORIES), min_size=2, max_size=12))
    sites = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    parts = [
        _sums([row for row, site in zip(rows, sites, strict=True) if site == one])
        for one in data.draw(st.permutations(sorted(set(sites))))
    ]
    together, pooled = reduce(add, parts), _sums(rows)
    assert together.rows == pooled.rows
    assert dict(together.columns) == dict(pooled.columns)
    try:
        expected = pooled.schema()
    except UsageError:
        with pytest.raises(UsageError, match="nothing to learn from"):
            together.schema()
    else:
        assert set(together.schema().columns) == set(expected.columns)


def test_centre_and_scale_are_mean_and_deviation_to_four_digits() -> None:
    draws = np.random.default_rng(0).normal(1.7e9, 3.0, 200).round(3)
    rows: list[tuple[str | None, str | None]] = [(str(one), "a") for one in draws.tolist()]
    (column,) = _sums(rows).schema().columns
    assert isinstance(column, NumericColumn)
    exact = [Decimal(repr(one)) for one in draws.tolist()]
    assert column.centre == pytest.approx(float(statistics.mean(exact)), rel=1e-3)
    # In floating-point numbers the squares would have lost it all.
    assert column.scale == pytest.approx(float(statistics.pstdev(exact)), rel=1e-3)
    assert len(f"{column.scale:g}".replace(".", "")) <= 4
    # A mean that lies between two such numbers is rounded the same however rows are dealt.
    ties = _sums([("0.00005", "a"), ("1.0000", "b"), ("0.5", "b")] * 3).schema()
    assert ties == _sums([("0.5", "b"), ("0.00005", "a"), ("1", "b")] * 3).schema()


def test_what_is_the_same_in_all_rows_is_no_column() -> None:
    assert [one.name for one in _sums([("3", "a"), ("3.0", "b")]).schema().columns] == ["c"]
    assert [one.name for one in _sums([("3", "a"), ("4", "A")]).schema().columns] == ["x"]
    # Whether there is a value at all may tell something.
    known = _sums([("3", "a"), (None, "a"), ("3", None)]).schema()
    assert known.columns == (
        NumericColumn("x", 3.0, 1.0, gaps=True),
        CategoryColumn("c", ("a",), gaps=True),
    )


def test_a_column_that_a_site_lacks_is_a_gap_there() -> None:
    one = TableSums(2, {"x": _sums([("1", None), ("2", None)]).columns["x"]})
    both = one + _sums([("5", "a"), ("6", "b")])
    assert both.schema().columns == (
        NumericColumn("x", 3.5, 2.062),
        CategoryColumn("c", ("a", "b"), gaps=True),
    )


def test_what_rests_on_few_rows_is_not_given() -> None:
    columns = {
        "many": [str(k) for k in range(12)],
        "few": [*("1234"), *[None] * 8],
        "flag": [*["0"] * 9, "1", "1", "1"],
        "c": [*["a"] * 6, *["b"] * 4, "x", None],
    }
    counts = column_counts(Rows(columns), range(12))
    kinds = kinds_of(counts)
    given_sums, without = sums_to_give(counts, kinds, 5)
    assert without == ["few", "flag"]
    assert list(given_sums.columns) == ["many", "c"]
    assert given_sums.columns["c"].__dict__ == {"counts": {"a": 6}, "rare": 5}
    # Names that are too rare at every site are no category, but no gap either.
    (_, column) = (given_sums + given_sums).schema().columns
    assert column == CategoryColumn("c", ("a",), gaps=True)


def test_files_keep_everything(tmp_path: Path) -> None:
    sums = _sums([("0.1", "a b"), ("1e-90", 'Ä."x'), ("-7e60", None), ("12345678901234567", "1")])
    write_sums(tmp_path / "s.toml", sums)
    assert read_sums(tmp_path / "s.toml") == sums
    write_schema(tmp_path / "a.toml", SCHEMA)
    assert read_schema(tmp_path / "a.toml") == SCHEMA
    assert Schema.of_mapping(SCHEMA.to_mapping()) == SCHEMA
    assert "1.0" not in (tmp_path / "s.toml").read_text().split("counts")[1]


def test_one_file_is_not_taken_for_the_other(tmp_path: Path) -> None:
    write_sums(tmp_path / "s.toml", _sums([("1", "a"), ("2", "b")]))
    write_schema(tmp_path / "a.toml", SCHEMA)
    with pytest.raises(UsageError, match=r"sums of one site; python -m fedtl\.agree"):
        read_schema(tmp_path / "s.toml")
    with pytest.raises(UsageError, match=r"no sums.*python -m fedtl\.describe"):
        read_sums(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("rows = 4", "rows = 0"), "rows must be a whole number"),
        (("rows = 4", "rows = 3"), "values of the column 'x' must be from 1 to 3"),
        (("values = 4", "values = true"), "values of the column 'x'"),
        (("sum = 10", "sum = nan"), "sum of the column 'x' must be a number"),
        (("sum = 10", "sum = 1e400"), "sum of the column 'x' must be a number"),
        (("sum = 10", "sum = '10'"), "sum of the column 'x' must be a number"),
        (("sum = 10", "sum = 11"), "squares of the column 'x' are less than its sum allows"),
        (("squares = 30", "squares = -30"), "less than its sum allows"),
        (("squares = 30", "more = 30"), "has not the figures of a column"),
        (("rare = 0", "rare = 3"), "more values than there are rows"),
        (("a = 2", "a = -2"), "counts that no table has"),
        (("a = 2", "a = 1e3"), "counts that no table has"),
        (("a = 2", '"" = 2'), "counts that no table has"),
        (("a = 2", "B = 2"), "counts that no table has"),
        (("a = 2", "a = 2\na = 3"), "not valid TOML"),
        (("sum = 10", f"sum = {'1' * 900}.0"), "not valid TOML|must be a number"),
        (("rows = 4", f"{'a.' * 300}b = 1"), "more than 200 dots"),
        (('"numeric"', '"text"'), "has not the figures of a column"),
    ],
)
def test_sums_of_others_are_checked(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    write_sums(path, _sums([("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")]))
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(UsageError, match=told):
        read_sums(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("scale = 10.0", "scale = 0"), "scale of the column 'age' must be above 0"),
        (("centre = 50.0", "centre = inf"), "centre of the column 'age' must be a number"),
        (("centre = 50.0", "middle = 50.0"), "has 'middle', which numeric columns do not"),
        (("gaps = true", "gaps = 1"), "must be true or false"),
        (('kind = "numeric"', 'kind = "date"'), "must be numeric or categorical"),
        (('"2"', '"1"'), "names a category twice"),
        (('"2"', "2"), "must be texts that are not empty"),
        (("[columns.", "[cols."), "it has no columns"),
    ],
)
def test_a_schema_that_a_person_wrote_is_checked(
    change: tuple[str, str], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.toml"
    write_schema(path, SCHEMA)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UsageError, match=told):
        read_schema(path)


def test_kinds_that_differ_between_sites_are_told() -> None:
    counts = ColumnCounts(4, {"x": Counter("aabb")})
    letters = sums_of(counts, {"x": ColumnKind("categorical")})
    numbers = TableSums(2, {"x": _sums([("1", None), ("2", None)]).columns["x"]})
    with pytest.raises(UsageError, match=r"'x' has numbers at one site.*--category-columns x"):
        numbers + letters


def test_a_row_becomes_numbers_by_hand() -> None:
    numbers = RowNumbers(SCHEMA)
    expected = {
        (("age", "65"), ("cp", "2"), ("crp", "2.75")): [1.5, 0, 1, 0, 0, -0.5, 0],
        # A gap is the centre, and is said where the schema knows of gaps.
        (("age", None), ("cp", None), ("crp", "3")): [0, 0, 0, 0, 1, 0, 0],
        (("age", "50"), ("cp", "9"), ("crp", None)): [0, 0, 0, 0, 0, 0, 1],
        (("age", "5e9"), ("cp", "TYP A"), ("crp", "<0.1")): [10, 0, 0, 1, 0, 0, 1],
        # A column that is not there is a gap; one that is not known says nothing.
        (("age", "-5e9"), ("other", "1")): [-10, 0, 0, 0, 1, 0, 1],
    }
    for cells, wanted in expected.items():
        found = numbers.of(Row(dict(cells)))
        assert found is not None
        assert found.tolist() == wanted
    assert numbers.of(Row({"age": None, "other": "1"})) is None
