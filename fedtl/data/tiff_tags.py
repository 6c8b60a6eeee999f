"""What a TIFF says of its pixels, for those that Pillow does not read as they are (TIFF 6.0)."""

from __future__ import annotations

import struct

_BITS, _PHOTOMETRIC, _CHANNELS, _SAMPLE_FORMAT = 258, 262, 277, 339
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_ENTRY_BYTES = 12


def with_black_as_zero(data: bytes) -> bytes | None:
    """Return a TIFF whose zeros are white as one whose zeros are black; ``None`` if it is none.

    The pixels stay, so that the picture is its own negative.
    """
    tags = _tags(data)
    if tags.get(_PHOTOMETRIC, (1, 0))[0] != 0:
        return None
    at, order = tags[_PHOTOMETRIC][1], _order(data)
    return data[:at] + struct.pack(order + "H", 1) + data[at + 2 :]


def pixels_told(data: bytes) -> str:
    """Return what a TIFF's pixels are, ``64-bit floating-point pixels``; empty if it is no TIFF."""
    tags = _tags(data)
    if _BITS not in tags:
        return ""
    kind = _KINDS.get(tags.get(_SAMPLE_FORMAT, (1, 0))[0], "undefined")
    channels = tags.get(_CHANNELS, (1, 0))[0]
    several = f"{channels} channels of " if channels > 1 else ""
    return f"{several}{tags[_BITS][0]}-bit {kind} pixels"


def _order(data: bytes) -> str:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4], "")


def _tags(data: bytes) -> dict[int, tuple[int, int]]:
    """Return value and place of the short numbers in the first directory; the first of several."""
    order = _order(data)
    if not order:
        return {}
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        found: dict[int, tuple[int, int]] = {}
        for entry in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
            at = entry + 8
            if kind == 3 and values > 2:
                (at,) = struct.unpack_from(order + "I", data, at)
            if kind == 3:
                found[tag] = (struct.unpack_from(order + "H", data, at)[0], at)
    except struct.error:
        return {}
    return found
