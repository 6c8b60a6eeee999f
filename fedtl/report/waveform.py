"""A recording as it is drawn: how loud it is over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fedtl.data.sound import Sound

_SIDE, _BARS = 192, 64
_PAPER, _INK = (240, 243, 246), (58, 110, 165)
_BLOCKS = "▁▂▃▄▅▆▇█"


def peaks(sound: Sound, parts: int) -> NDArray[np.float64]:
    """Return the loudest sample of each part of a recording, as a share of the loudest of all.

    Args:
        sound: The recording.
        parts: How many equal parts, at most; shape ``(p,)`` has one for each.
    """
    split = np.array_split(np.abs(sound.samples), min(parts, len(sound.samples)))
    found = np.array([part.max() for part in split], np.float64)
    return found / max(float(found.max()), 1e-9)


def drawn_in_letters(sound: Sound, parts: int) -> str:
    """Return a recording's peaks as blocks of eight heights, for a terminal."""
    heights = np.ceil(peaks(sound, parts) * len(_BLOCKS)).astype(int)
    return "".join(_BLOCKS[max(height, 1) - 1] for height in heights.tolist())


def drawn_as_picture(sound: Sound) -> NDArray[np.uint8]:
    """Return a recording's peaks as a picture, shape ``(192, 192, 3)``."""
    picture = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
    pen, wide = ImageDraw.Draw(picture), _SIDE // _BARS
    for at, peak in enumerate(peaks(sound, _BARS).tolist()):
        half = max(1, round(peak * (_SIDE - 20) / 2))
        left = at * wide
        pen.rectangle((left, _SIDE // 2 - half, left + wide - 2, _SIDE // 2 + half), _INK)
    return np.asarray(picture)
