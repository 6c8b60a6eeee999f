"""Files of a table's columns: the sums of a site, and the schema that all sites agree on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

from fedtl.data.cells import LARGEST, folded_category
from fedtl.data.column_kinds import CATEGORICAL, MOST_CATEGORIES, NUMERIC
from fedtl.data.schema import LONGEST_NAME, MOST_COLUMNS, Schema
from fedtl.data.table_sums import CategorySums, ColumnSums, NumericSums, TableSums
from fedtl.errors import UsageError
from fedtl.whole_file import write_atomically

_SUMS, _SCHEMA = "fedtl-column-sums-1", "fedtl-table-schema-1"
_MOST_BYTES, _MOST_DOTS, _MOST_DIGITS = 2**24, 200, 700
_MOST_ROWS = 10**12
_WHOLE = Context(prec=3 * _MOST_DIGITS)
_OF_SUMS = (
    "Sums over the columns of a table, for the schema that all sites agree on: nothing else",
    "of the table is in this file. python -m fedtl.agree adds those of several sites.",
)
_OF_SCHEMA = (
    "What each column is, the same at all sites: --table-schema FILE. A number counts as",
    "(number - centre) / scale. You may take out a column, or make one of few numbers",
    'categorical: kind = "categorical", categories = ["1", "2"].',
)


def refuse_existing(path: Path, option: str) -> None:
    """Refuse to write where a file is: people edit schemas by hand.

    Args:
        path: Where something is to be written.
        option: What names that place.

    Raises:
        UsageError: There is a file.
    """
    if path.exists():
        raise UsageError(f"{path} exists already; name another {option}, or remove it.")


def write_sums(path: Path, sums: TableSums) -> None:
    """Write the sums of a site.

    Raises:
        UnwrittenError: The file cannot be written.
    """
    columns: dict[str, Any] = {}
    for name, column in sums.columns.items():
        if isinstance(column, NumericSums):
            figures = {"sum": _number(column.total), "squares": _number(column.squares)}
            columns[name] = {"kind": NUMERIC, "values": column.values, **figures}
        else:
            columns[name] = {"kind": CATEGORICAL, "rare": column.rare, "counts": column.counts}
    _write(path, _OF_SUMS, {"format": _SUMS, "rows": sums.rows, "columns": columns})


def write_schema(path: Path, schema: Schema) -> None:
    """Write a schema, for people to read and edit.

    Raises:
        UnwrittenError: The file cannot be written.
    """
    _write(path, _OF_SCHEMA, {"format": _SCHEMA, "columns": schema.to_mapping()})


def read_schema(path: Path) -> Schema:
    """Return the schema that a file holds.

    Raises:
        UsageError: It cannot be read, or holds none.
    """
    content = _read(path)
    if content.get("format") == _SUMS:
        raise UsageError(
            f"{path} holds the sums of one site; python -m fedtl.agree {path} OTHERS... "
            "--write FILE makes the schema of them that all sites share."
        )
    if content.get("format") != _SCHEMA:
        raise UsageError(f"{path} is no schema of a table: it has no format = '{_SCHEMA}'.")
    try:
        return Schema.of_mapping(_floats(content.get("columns")))
    except ValueError as error:
        raise UsageError(f"{path} is no sound schema of a table: {error}.") from None


def read_sums(path: Path) -> TableSums:
    """Return the sums that a site's file holds; whatever is in it has been checked.

    Raises:
        UsageError: It cannot be read, holds none, or figures that no table has.
    """
    content = _read(path)
    if content.get("format") != _SUMS:
        raise UsageError(
            f"{path} holds no sums of a table's columns; python -m fedtl.describe --data TABLE "
            "--write-schema FILE writes them."
        )
    try:
        rows, columns = content.get("rows"), content.get("columns")
        if not _is_count(rows, _MOST_ROWS) or not rows:
            raise ValueError(f"rows must be a whole number from 1 to {_MOST_ROWS:,}")
        if not isinstance(columns, dict) or len(columns) > MOST_COLUMNS:
            raise ValueError(f"columns must be at most {MOST_COLUMNS:,} tables")
        return TableSums(rows, {name: _sums(name, facts, rows) for name, facts in columns.items()})
    except ValueError as error:
        raise UsageError(f"{path} holds no sound sums: {error}.") from None


def _sums(name: str, facts: Any, rows: int) -> ColumnSums:
    if len(name) > LONGEST_NAME or not isinstance(facts, dict):
        raise ValueError(f"the column {name[:40]!r} is no table of a column")
    kind = facts.get("kind")
    found: ColumnSums
    if kind == NUMERIC and facts.keys() == {"kind", "values", "sum", "squares"}:
        values = facts["values"]
        if not _is_count(values, rows) or not values:
            raise ValueError(f"values of the column {name!r} must be from 1 to {rows:,}")
        total, squares = (_decimal(name, what, facts[what]) for what in ("sum", "squares"))
        with localcontext(_WHOLE):
            possible = values * squares >= total * total  # as of any numbers
        if not possible:
            raise ValueError(f"squares of the column {name!r} are less than its sum allows")
        found = NumericSums(values, total, squares)
    elif kind == CATEGORICAL and facts.keys() == {"kind", "rare", "counts"}:
        counts = facts["counts"]
        if not isinstance(counts, dict) or len(counts) > MOST_CATEGORIES:
            raise ValueError(f"the column {name!r} has too many categories")
        named = all(0 < len(one) <= LONGEST_NAME for one in counts)
        twice = len({folded_category(one) for one in counts}) < len(counts)
        sound = all(_is_count(count, rows) for count in (*counts.values(), facts["rare"]))
        if not named or twice or not sound:
            raise ValueError(f"the column {name!r} has counts that no table has")
        found = CategorySums(counts, facts["rare"])
    else:
        raise ValueError(f"the column {name!r} has not the figures of a column")
    if found.filled > rows:
        raise ValueError(f"the column {name!r} has more values than there are rows")
    return found


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _decimal(name: str, what: str, value: Any) -> Decimal:
    fine = isinstance(value, int | Decimal) and not isinstance(value, bool)
    number = Decimal(value) if fine else Decimal("nan")
    most = _MOST_ROWS * Decimal(LARGEST) ** (2 if what == "squares" else 1)
    if (
        not number.is_finite()
        or abs(number) > most
        or (number and number.adjusted() < -_MOST_DIGITS)
    ):
        raise ValueError(f"{what} of the column {name!r} must be a number that a table can have")
    return number


def _number(value: Decimal) -> int | Decimal:
    whole = value == value.to_integral_value() and abs(value) < 10**15
    return int(value) if whole else value


def _floats(value: Any) -> Any:
    """Return what a file holds with decimal numbers as floating-point ones."""
    if isinstance(value, dict):
        return {key: _floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value


def _write(path: Path, comment: Sequence[str], content: dict[str, Any]) -> None:
    import tomli_w

    lines = "".join(f"# {line}\n" for line in comment)
    write_atomically(path, (lines + "\n" + tomli_w.dumps(content)).encode())


def _read(path: Path) -> dict[str, Any]:
    """Return a TOML file's content, decimal numbers kept whole."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES >> 20} MiB, more than any needs.")
        text = content.decode().replace("\r\n", "\n")
        if any(line.partition("=")[0].count(".") > _MOST_DOTS for line in text.split("\n")):
            raise UsageError(f"{path} has a line of more than {_MOST_DOTS} dots.")
        return tomllib.loads(text, parse_float=_parsed)
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not valid TOML ({error}); give a file that python -m fedtl.describe "
            "--write-schema or python -m fedtl.agree wrote."
        ) from error


def _parsed(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number has too many digits")
    return Decimal(text)
