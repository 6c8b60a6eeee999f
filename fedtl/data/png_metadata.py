"""A PNG without its text and colour profile, which Pillow refuses where they are large."""

from __future__ import annotations

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_METADATA = (b"iCCP", b"zTXt", b"iTXt", b"tEXt")
# A chunk is a length, a name, the content and a checksum.
_FRAME_BYTES = 12


def is_png(data: bytes) -> bool:
    """Return whether a file begins as a PNG does."""
    return data.startswith(_SIGNATURE)


def without_metadata(data: bytes) -> bytes:
    """Return a PNG without the chunks of text and profile; the pixels stay as they are."""
    kept = [_SIGNATURE]
    at = len(_SIGNATURE)
    while at + _FRAME_BYTES <= len(data):
        end = at + _FRAME_BYTES + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _METADATA:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])
