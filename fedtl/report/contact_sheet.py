"""Several pictures side by side in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE, _GAP, _BACKGROUND = 192, 6, (255, 255, 255)


def contact_sheet(pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Return pictures in rows, each shrunk or enlarged into a square of 192 pixels.

    Args:
        pictures: At least one, each of shape ``(height, width, 3)``.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _BACKGROUND)
    for place, picture in enumerate(pictures):
        one = Image.fromarray(np.ascontiguousarray(picture))
        scale = _SIDE / max(one.size)
        one = one.resize((max(1, round(one.width * scale)), max(1, round(one.height * scale))))
        row, column = divmod(place, columns)
        left = _GAP + column * step + (_SIDE - one.width) // 2
        sheet.paste(one, (left, _GAP + row * step + (_SIDE - one.height) // 2))
    return sheet
