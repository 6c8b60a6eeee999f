"""How a table writes numbers: with a decimal comma, in groups of three digits, with a unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedtl.data.cells import number_of
from fedtl.errors import UsageError

MOST_NUMBERS = 0.9
"""A column of which so many cells are numbers is one of numbers."""

Cells = Sequence[str | None]

_SPACE = "[ \u00a0\u202f'’]"
_SIGNED = r"[+-]?"
# 3,5 and 1.234,5 and 1 234,5; 1,234 is one, too.
_COMMA = re.compile(rf"{_SIGNED}(\d+|\d{{1,3}}(\.\d{{3}})+|\d{{1,3}}({_SPACE}\d{{3}})+),\d+")
# 1,234 and 1,234.5 and 1,234,567.
_GROUPED = re.compile(rf"{_SIGNED}[1-9]\d{{0,2}}(,\d{{3}})+(\.\d*)?")
_DOTTED = re.compile(rf"{_SIGNED}[1-9]\d{{0,2}}(\.\d{{3}}){{2,}}")
_THOUSANDS = re.compile(rf"{_SIGNED}[1-9]\d{{0,2}}(\.\d{{3}})+")
_SPACED = re.compile(rf"{_SIGNED}[1-9]\d{{0,2}}({_SPACE}\d{{3}})+(\.\d*)?")
_WITH_UNIT = re.compile(r"([$€£¥]?)\s*([+-]?[\d.,]+)(\s*%|\s+[^\W\d][\w/²³°%]{0,15}|\s*[€£¥])?")


class _Notation(NamedTuple):
    """What a column's cells are by; a cell may be both."""

    numbers: int
    comma: list[str]
    grouped: list[str]
    doubtful: list[str]


def with_decimal_points(
    path: object, columns: Mapping[str, Cells]
) -> tuple[dict[str, Cells], list[str]]:
    """Return columns whose numbers are written as Python does, and what to tell of it.

    Whether ``1,234`` is a fraction or a thousand, other cells of the column say, or else the other
    columns of the table. Columns that are not of numbers stay as they are.

    Args:
        path: The table, for messages.
        columns: The cells by column, a gap as ``None``.

    Raises:
        UsageError: Nothing says what such a number is, or cells of a column contradict each other.
    """
    found: dict[str, Cells] = {}
    units = {}
    for name, cells in columns.items():
        found[name], unit = _without_unit(cells)
        if unit:
            units[name] = unit
    looked = {name: _seen(cells) for name, cells in found.items()}
    seen = {name: one for name, one in looked.items() if one is not None}
    by_comma = any(one.comma for one in seen.values())
    by_group = any(one.grouped for one in seen.values())
    for name, one in seen.items():
        if one.comma and one.grouped:
            raise UsageError(
                f"{path}: the column {name!r} has {one.comma[0]!r} and {one.grouped[0]!r}, so "
                "that a comma is a decimal one and is none; write all its numbers alike, or leave "
                f"it out (--ignored-columns {name})"
            )
        if one.doubtful and not (one.comma or one.grouped) and by_comma == by_group:
            cell = one.doubtful[0]
            raise UsageError(
                f"{path}: the column {name!r} has {cell!r}, which may be {cell.replace(',', '.')} "
                f"or {cell.replace(',', '')}; write it so, or leave the column out "
                f"(--ignored-columns {name})"
            )
        decimal = bool(one.comma) or (by_comma and not one.grouped)
        found[name] = [None if cell is None else _plain(cell, decimal) for cell in found[name]]
    for name in found.keys() - seen.keys() if by_comma and not by_group else ():
        found[name] = _without_dots(found[name])
    told = [f"numbers of {name} are in {unit}" for name, unit in units.items()]
    return found, told


def _seen(cells: Cells) -> _Notation | None:
    """Return how a column's numbers are written; ``None`` if that needs no change."""
    there = [cell for cell in cells if cell is not None]
    plain = comma = 0
    of_comma, of_groups, doubtful = [], [], []
    for cell in there:
        if number_of(cell) is not None:
            plain += 1
            continue
        as_comma, as_group = bool(_COMMA.fullmatch(cell)), bool(_GROUPED.fullmatch(cell))
        spaced = bool(_SPACED.fullmatch(cell) or _DOTTED.fullmatch(cell))
        comma += as_comma or as_group or spaced
        if as_comma and as_group:
            doubtful.append(cell)
        elif as_comma or _DOTTED.fullmatch(cell):
            of_comma.append(cell)
        elif as_group:
            of_groups.append(cell)
    if not comma or plain + comma < MOST_NUMBERS * len(there):
        return None
    return _Notation(plain + comma, of_comma, of_groups, doubtful)


def _plain(cell: str, decimal_comma: bool) -> str:
    """Return a number as Python writes it; what is none stays as it is."""
    if not (_COMMA.fullmatch(cell) or _GROUPED.fullmatch(cell)):
        grouped = _SPACED.fullmatch(cell)
        if decimal_comma and _THOUSANDS.fullmatch(cell):
            return cell.replace(".", "")
        return re.sub(_SPACE, "", cell) if grouped else cell
    bare = re.sub(_SPACE, "", cell)
    return bare.replace(".", "").replace(",", ".") if decimal_comma else bare.replace(",", "")


def _without_dots(cells: Cells) -> Cells:
    """Return a column of a table with decimal commas without the dots that part thousands."""
    dotted = [cell for cell in cells if cell is not None and "." in cell and number_of(cell)]
    if not dotted or not all(_THOUSANDS.fullmatch(cell) for cell in dotted):
        return cells
    return [None if cell is None else _plain(cell, True) for cell in cells]


def _without_unit(cells: Cells) -> tuple[Cells, str]:
    """Return a column without the unit that all its cells carry, and the unit; else as it is."""
    units: set[str] = set()
    bare: list[str | None] = []
    for cell in cells:
        match = None if cell is None else _WITH_UNIT.fullmatch(cell)
        if cell is not None:
            unit = "" if match is None else ((match[3] or "").strip() or match[1])
            if not unit:
                return cells, ""
            units.add(unit)
        bare.append(None if match is None else match[2])
    return (bare, units.pop()) if len(units) == 1 else (cells, "")
