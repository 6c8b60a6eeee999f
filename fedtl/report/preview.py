"""One input as it is shown on a page: a picture, a text quoted, a waveform, a row's cells."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fedtl.data.rows import Row
from fedtl.data.sound import Sound
from fedtl.report.waveform import peaks
from fedtl.wording import MISSING, printable, shortened

_THUMBNAIL = 160
_LETTERS = 240
_BARS, _HEIGHT = 72, 40
_CELLS, _CELL_LETTERS = 12, 32


def preview(item: Any, label: str) -> Markup:
    """Return an input for a page.

    Args:
        item: A picture, a text, a recording or a row of a table.
        label: What a reader who sees no pictures is told.
    """
    if isinstance(item, str):
        return Markup("<q>{}</q>").format(_cut(printable(item)))
    if isinstance(item, Sound):
        return _waveform(item, printable(label))
    if isinstance(item, Row):
        return _cells(item)
    return Markup('<img src="{}" alt="{}">').format(thumbnail(item), printable(label))


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1].rstrip()}…"


def _cells(row: Row) -> Markup:
    """Return the first cells of a row, one below the other."""
    # Not "and 1 more", which takes as much room as that one.
    count = _CELLS + (len(row.cells) == _CELLS + 1)
    shown = Markup("").join(
        Markup("<tr><th scope=row>{}</th><td>{}</td></tr>").format(
            shortened(name, _CELL_LETTERS),
            MISSING if cell is None else shortened(cell, _CELL_LETTERS),
        )
        for name, cell in list(row.cells.items())[:count]
    )
    more = len(row.cells) - count
    rest = Markup("<small>and {} more</small>").format(f"{more:,}") if more > 0 else ""
    return Markup('<table class="cells"><tbody>{}</tbody></table>{}').format(shown, rest)


def thumbnail(image: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI, at most 160 pixels wide and high."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _waveform(sound: Sound, label: str) -> Markup:
    """Return a recording's peaks over time, and how long it lasts."""
    half = _HEIGHT / 2 * peaks(sound, _BARS)
    lines = " ".join(
        f"M{2 * at + 1} {_HEIGHT / 2 - high:.1f}v{max(2 * high, 0.5):.1f}"
        for at, high in enumerate(half.tolist())
    )
    return Markup(
        '<svg class="wave" role="img" aria-label="{}, {:.2f} seconds" viewBox="0 0 {} {}">'
        '<path d="{}"/></svg><small>{:.2f} s</small>'
    ).format(label, sound.seconds, 2 * len(half), _HEIGHT, lines, sound.seconds)
