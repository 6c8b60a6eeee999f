"""TIFF files of pixels that Pillow does not write."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tiff(values: NDArray[Any], photometric: int = 1, *, planes: bool = False) -> bytes:
    """Return an uncompressed TIFF, written here by TIFF 6.0 alone."""
    kinds = {"u": 1, "i": 2, "f": 3}
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    strips = channels if planes else 1
    ordered = np.moveaxis(values, 2, 0) if planes else values
    pixels = ordered.astype(values.dtype.newbyteorder("<")).tobytes()
    size, bits = len(pixels) // strips, 8 * values.itemsize
    several = b""

    def entry(tag: int, kind: int, *numbers: int) -> bytes:
        nonlocal several
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(numbers), *numbers)
        if len(packed) > 4:
            at, several = 8 + len(pixels) + len(several), several + packed
            packed = struct.pack("<I", at)
        return struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")

    entries = [
        entry(256, 3, width), entry(257, 3, height), entry(258, 3, *[bits] * channels),
        entry(259, 3, 1), entry(262, 3, photometric),
        entry(273, 4, *(8 + size * strip for strip in range(strips))), entry(277, 3, channels),
        entry(278, 3, height), entry(279, 4, *[size] * strips), entry(284, 3, 2 if planes else 1),
        entry(339, 3, *[kinds[values.dtype.kind]] * channels),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    start = 8 + len(pixels) + len(several)
    return b"II*\0" + struct.pack("<I", start) + pixels + several + directory
