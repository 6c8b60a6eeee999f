"""The elements that the report's page is made of; whatever text they are given, they escape."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from fedtl.report.theme import Plot
from fedtl.report.wording import known, printable, shortened

_THUMBNAIL = 160


def captioned(plot: Plot, explanation: str, narrow: Plot | None = None) -> str:
    """Return a plot below what it shows and above what it leaves out.

    Args:
        plot: The picture.
        explanation: Markup, already escaped.
        narrow: The same for a narrow page.
    """
    wide = _figure(plot, "wide" if narrow else "")
    return f"<p>{explanation}</p>\n{wide}{_figure(narrow, 'narrow') if narrow else ''}"


def _figure(plot: Plot, style: str) -> str:
    note = f"<figcaption>{escaped(plot.note)}</figcaption>" if plot.note else ""
    return f"<figure{_attribute('class', style)}>{plot.svg}{note}</figure>"


def meter(fraction: float | None) -> str:
    """Return a bar filled to a fraction, empty where there is none; the number stands beside it."""
    width = 100 * min(max(fraction, 0.0), 1.0) if fraction is not None and known(fraction) else 0.0
    return f'<span class="meter" aria-hidden="true"><span style="width:{width:.1f}%"></span></span>'


def table_of(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    row_classes: Sequence[str] = (),
    caption: str = "",
) -> str:
    """Return a table of plain text, escaped here; the first cell of a row is its header.

    Args:
        headers: One per column.
        rows: The cells.
        numbers: Columns to align to the right.
        row_classes: A CSS class per row; empty for none.
        caption: What the table is, where its section does not say it.
    """

    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        attributes = _attribute("scope", scope) + _attribute(
            "class", "number" if column in numbers else ""
        )
        return f"<{tag}{attributes}>{escaped(text)}</{tag}>"

    head = "".join(cell("th", column, text, "col") for column, text in enumerate(headers))
    body = []
    for index, row in enumerate(rows):
        style = row_classes[index] if row_classes else ""
        first = cell("th", 0, shortened(row[0], 80), "row")
        rest = "".join(cell("td", column, text) for column, text in enumerate(row) if column)
        body.append(f"<tr{_attribute('class', style)}>{first}{rest}</tr>")
    title = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return (
        f'<div class="table"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def definitions(values: Mapping[str, object], style: str = "") -> str:
    """Return names and their values as a list, values spelt as TOML spells them but unquoted.

    Args:
        values: Plain texts, numbers and truth values.
        style: A CSS class beside ``definitions``.
    """
    items = "".join(
        f"<div><dt>{escaped(key)}</dt><dd>{escaped(_spelling(value))}</dd></div>"
        for key, value in values.items()
    )
    return f'<dl class="{f"definitions {style}".strip()}">{items}</dl>'


def _spelling(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def thumbnail(image: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI, at most 160 pixels wide and high."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _attribute(name: str, value: str) -> str:
    return f' {name}="{value}"' if value else ""


def escaped(text: object) -> str:
    """Return text that is safe in an element and in a quoted attribute."""
    return escape(printable(text))
