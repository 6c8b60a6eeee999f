"""Pages from templates: each is one file that opens offline and loads nothing.

Templates escape whatever they are given, names of clients, classes and files included; what is
markup already, such as a picture, is a :class:`markupsafe.Markup`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedtl import wording


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its name in the page's navigation.
        anchor: Its id.
        template: Which file of ``templates`` shows it.
        view: What that template shows, there by the name ``view``.
    """

    title: str
    anchor: str
    template: str
    view: Mapping[str, Any]


@dataclass(frozen=True)
class TextTable:
    """A table of plain text for the macro ``table``.

    Attributes:
        headings: One per column.
        rows: The cells; the first of a row is its header.
        numbers: Columns to align to the right.
        styles: A CSS class per row, empty for none; may be absent altogether.
        caption: What the table is, if its section does not say it.
        roomy: Columns that a telephone leaves out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()
    styles: Sequence[str] = ()
    caption: str = ""
    roomy: Collection[int] = ()

    def kind(self, column: int) -> str:
        """Return a column's CSS classes."""
        named = {"number": self.numbers, "roomy": self.roomy}
        return " ".join(name for name, columns in named.items() if column in columns)

    def style(self, row: int) -> str:
        """Return a row's CSS class."""
        return self.styles[row] if self.styles else ""


def page_of(
    template: str, title: str, sections: Sequence[Section | None], **headline: object
) -> str:
    """Return a page.

    Args:
        template: Which file of ``templates`` shows its top.
        title: What the browser shows.
        sections: Its parts; ``None`` for a part that this page lacks.
        headline: What the top shows.
    """
    script = _file("sort_tables.js")
    return (
        environment()
        .get_template(template)
        .render(
            title=title,
            sections=[section for section in sections if section is not None],
            style=Markup(_file("report.css")),
            script=Markup(script),
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **headline,
        )
    )


@cache
def environment() -> Environment:
    """Return what fills templates in; a name that a view lacks is an error."""
    made = Environment(
        loader=PackageLoader("fedtl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (
        wording.byte_size,
        wording.count_of,
        wording.duration,
        wording.percent,
        wording.points,
        wording.sentence,
        wording.share_of,
        wording.shortened,
    ):
        made.filters[write.__name__] = write
    made.filters["filled"] = _filled
    made.filters["points_span"] = lambda interval: wording.points_span(*interval)
    made.filters["thousands"] = lambda number: f"{number:,}"
    made.globals.update(missing=wording.MISSING, marks=wording.MARKS)
    return made


def _printable(value: object) -> object:
    return value if hasattr(value, "__html__") else wording.printable(value)


def _filled(fraction: float | None) -> str:
    """Return how much of a bar is filled, in percent."""
    return (
        f"{100 * min(max(fraction, 0.0), 1.0):.1f}" if fraction and wording.known(fraction) else "0"
    )


def _file(name: str) -> str:
    return resources.files("fedtl.report").joinpath(name).read_text(encoding="utf-8")
