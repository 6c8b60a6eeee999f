"""How large a picture a compressed stream says that it is, without decoding it.

JPEG 2000: ISO/IEC 15444-1, A.5.1 (SIZ) and I.4 (boxes). JPEG and JPEG-LS: ISO/IEC 10918-1, B.2.2
(frame header), and 14495-1, C.1.2.
"""

from __future__ import annotations

import struct

_CODESTREAM, _BOXES = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JPEG = b"\xff\xd8"
_SIZ = struct.Struct(">HHIIIIIIIIH")
# Frame headers of JPEG; 0xC4, 0xC8 and 0xCC among them are tables. The last is JPEG-LS's.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def coded_values(stream: bytes) -> int:
    """Return how many values a JPEG, JPEG-LS or JPEG 2000 stream makes: pixels times components.

    It is 0 if the stream is none of these, or ends before it says.
    """
    try:
        if stream.startswith(_BOXES):
            stream = _codestream_of(stream)
        if stream.startswith(_CODESTREAM):
            _, _, right, lower, left, upper, *_, components = _SIZ.unpack_from(stream, 4)
            values: int = max(right - left, 0) * max(lower - upper, 0) * components
            return values
        return _jpeg_values(stream) if stream.startswith(_JPEG) else 0
    except (struct.error, IndexError):
        return 0


def _codestream_of(file: bytes) -> bytes:
    """Return the codestream in a JP2 file's boxes; empty if there is none."""
    at = 0
    while at < len(file):
        size, kind, begin = *struct.unpack_from(">I4s", file, at), 8
        if size == 1:
            size, begin = *struct.unpack_from(">Q", file, at + 8), 16
        if kind == b"jp2c":
            return file[at + begin :]
        if size < begin:
            return b""
        at += size
    return b""


def _jpeg_values(stream: bytes) -> int:
    at = 2
    while True:
        if stream[at] != 0xFF:
            return 0
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", stream, at + 5)
            return int(height) * int(width) * int(components)
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
