"""The columns of a table's rows in ``fedtl.describe``: what each is, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedtl.data.column_kinds import CATEGORICAL, NUMERIC
from fedtl.data.columns_seen import ColumnSeen
from fedtl.wording import MISSING, printable, shortened

if TYPE_CHECKING:
    from rich.table import Table

_MOST_COLUMNS, _MOST_NAMED = 60, 4
# So few numbers may be codes, which --category-columns makes categories.
_FEW = 10
# Eighty columns hold as much.
_NAME_WIDTH, _HOLDS_WIDTH, _WORD_WIDTH = 18, 36, 12


def columns_tables(columns: Sequence[ColumnSeen]) -> list[Table | str]:
    """Return a table of the columns, and what a person should know of them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title, right in (("Column", False), ("Kind", False), ("Holds", False), ("Gaps", True)):
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for column in columns[:_MOST_COLUMNS]:
        gaps = f"{column.gaps:,}" if column.gaps else MISSING
        cells = (shortened(column.name, _NAME_WIDTH), column.kind, _holds(column), gaps)
        table.add_row(*map(Text, cells))
    shown: list[Table | str] = [table]
    if len(columns) > _MOST_COLUMNS:
        shown.append(f"and {len(columns) - _MOST_COLUMNS:,} columns more (--json has all)")
    return shown + [printable(column.hint) for column in columns if column.hint]


def _holds(column: ColumnSeen) -> str:
    """Return a column's range or its most frequent categories."""
    if column.kind == NUMERIC:
        if column.low is None or column.high is None:
            return "no number"
        few = f", {column.different} different" if column.different <= _FEW else ""
        return f"{column.low:.6g} to {column.high:.6g}{few}"
    if column.kind != CATEGORICAL:
        return column.why
    named = [
        f"{shortened(name, _WORD_WIDTH)} {count:,}"
        for name, count in list(column.categories.items())[:_MOST_NAMED]
    ]
    while True:
        rest = len(column.categories) - len(named)
        more = f" and {rest:,} more" if rest else ""
        told = ", ".join(named) + more
        if len(told) <= _HOLDS_WIDTH or len(named) < 2:
            return told
        named.pop()
