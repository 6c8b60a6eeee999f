"""Several pictures side by side in one, each with its name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SIDE, _GAP, _BACKGROUND = 192, 6, (255, 255, 255)
_CAPTION, _LETTERS, _INK = 20, 14, (0, 0, 0)
_LONGEST = 200


def contact_sheet(pictures: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> Image.Image:
    """Return pictures in rows, each shrunk or enlarged into a square of 192 pixels under its name.

    Args:
        pictures: At least one, each of shape ``(height, width, 3)``.
        names: One for each picture, cut where it is wider than the square.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    across, down = _SIDE + _GAP, _CAPTION + _SIDE + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LETTERS)
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        one = Image.fromarray(np.ascontiguousarray(picture))
        scale = _SIDE / max(one.size)
        one = one.resize((max(1, round(one.width * scale)), max(1, round(one.height * scale))))
        row, column = divmod(place, columns)
        middle = _GAP + column * across + _SIDE // 2
        top = _GAP + row * down + _CAPTION + (_SIDE - one.height) // 2
        sheet.paste(one, (middle - one.width // 2, top))
        pen.text((middle, top - _CAPTION // 2), _cut(name, font), _INK, font, anchor="mm")
    return sheet


def _cut(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return a name as wide as a picture at most."""
    shown = name[:_LONGEST]
    while shown and font.getlength(shown if shown == name else f"{shown}…") > _SIDE:
        shown = shown[:-1]
    return shown if shown == name else f"{shown}…"
