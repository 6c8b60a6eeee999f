"""CSV that a spreadsheet never runs as formulas: names come from people, files and clients.

A cell that begins like a formula gets an apostrophe in front, as spreadsheets themselves mark text.
A cell that begins with an apostrophe and such a sign gets a second apostrophe, so that reading is
exact.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# As for Excel in any language: signs of double width count, and so does what it trims.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_MARKED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)


def safe_cell(value: Any) -> Any:
    """Return a cell's value as it is written: text that begins like a formula is marked as text."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def read_cell(text: str) -> str:
    """Return the text that :func:`safe_cell` wrote."""
    return text[1:] if _MARKED.match(text) else text


def csv_text(rows: Iterable[Sequence[Any]], *, line_end: str = "\r\n") -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def csv_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, line_end: str = "\r\n"
) -> str:
    """Return rows as CSV below a line of their columns; missing values are empty."""
    cells = ([row.get(column, "") for column in columns] for row in rows)
    return csv_text([columns, *cells], line_end=line_end)


def read_table(text: str) -> list[dict[str, str]]:
    """Return the rows of :func:`csv_table`."""
    read = csv.DictReader(io.StringIO(text, newline=""))
    return [{read_cell(key): read_cell(value) for key, value in row.items()} for row in read]
