"""How large a file may become: bytes unpacked, members, pixels.

Files come from other people, and a small one can claim, or unpack to, more than any machine holds.
What a file states is checked against these limits before anything is read, and what it unpacks to
is checked as it unpacks. They lie well above what data sets have; what is beyond them can be
unpacked by hand.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fedtl.errors import UsageError

MOST_FILE_BYTES = 2**29
"""Bytes of one picture's file."""
MOST_TABLE_BYTES = 2**27
"""Bytes of a table of text."""
MOST_PIXELS = 2**26
"""Pixels of one picture: about half a gigabyte while it is decoded."""
MOST_MEMBERS = 10**6
"""Members of an archive."""
LARGEST_DICTIONARY = 2**28
"""Bytes that a decompressor may keep of what it has written."""

# Little at a time goes in, as what is left over is copied; much may come out.
_READ, _CHUNK = 2**16, 2**20
# Pictures hardly compress, and even flat ones that were saved uncompressed do so by less.
_RATIO, _ALWAYS = 10, 2**27
_ZIP_END, _ZIP_END_BYTES, _ZIP_COMMENT = b"PK\x05\x06", 22, 2**16
_ZIP64_PLACE, _ZIP64_PLACE_BYTES, _ZIP64_END, _ZIP64_END_BYTES = (
    b"PK\x06\x07",
    20,
    b"PK\x06\x06",
    56,
)
_ZIP64_BYTES = _ZIP64_PLACE_BYTES + _ZIP64_END_BYTES
_ZIP_ENTRY_BYTES, _ZIP_ENTRY_LENGTHS = 46, struct.Struct("<3H")


def most_unpacked(packed: int, *, ratio: int = _RATIO, always: int = _ALWAYS) -> int:
    """Return how many bytes a number of packed bytes may unpack to."""
    return max(always, ratio * packed)


def unpacked(path: Path) -> Iterator[bytes]:
    """Yield what a file compressed by gzip, bzip2 or xz unpacks to, in pieces of about a megabyte.

    Raises:
        UsageError: It unpacks to far more than such files do.
        EOFError: It is cut short.
        OSError: It is damaged, or cannot be read; so do zlib.error and lzma.LZMAError tell.
    """
    left = most_unpacked(path.stat().st_size)
    with path.open("rb") as file:
        data = file.read(_READ)
        # One stream may follow another; whatever else follows, such as padding, is left alone.
        while is_compressed(data):
            stream = _decompressor(data)
            while not stream.eof:
                piece = stream.decompress(data, _CHUNK)
                left -= len(piece)
                if left < 0:
                    raise UsageError(
                        f"{path} unpacks to more than {_RATIO} times its size, which no archive of "
                        "pictures does: unpack it and pass the folder"
                    )
                yield piece
                if stream.eof:
                    break
                # zlib gives back what it has not taken; the others keep it.
                data = getattr(stream, "unconsumed_tail", b"")
                if not data and getattr(stream, "needs_input", True):
                    data = file.read(_READ)
                    if not data and not piece:
                        raise EOFError("it is cut short")
            data = stream.unused_data + file.read(_READ)


def is_compressed(start: bytes) -> bool:
    """Return whether a file that begins so can be unpacked by :func:`unpacked`."""
    return any(start.startswith(mark) for mark in _DECOMPRESSORS)


_DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lambda: lzma.LZMADecompressor(memlimit=LARGEST_DICTIONARY),
}


def _decompressor(start: bytes) -> Any:
    return next(make for mark, make in _DECOMPRESSORS.items() if start.startswith(mark))()


def check_zip_directory(path: Path, *, most: int = MOST_MEMBERS) -> None:
    """Refuse a zip of more members than ``most`` before it is read.

    A file that is no zip is left to its reader.

    Raises:
        UsageError: It has more.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _ZIP_END_BYTES:
            return
        first = max(0, size - _ZIP_END_BYTES - _ZIP_COMMENT - _ZIP64_BYTES)
        file.seek(first)
        tail = file.read()
        end = tail.rfind(_ZIP_END)
        if end < 0:
            return
        length = int.from_bytes(tail[end + 12 : end + 16], "little")
        place = end - _ZIP64_PLACE_BYTES
        if place >= 0 and tail[place : place + 4] == _ZIP64_PLACE:
            end = place - _ZIP64_END_BYTES
            if end < 0 or tail[end : end + 4] != _ZIP64_END:
                return
            length = int.from_bytes(tail[end + 40 : end + 48], "little")
        at, end, count = max(0, first + end - length), first + end, 0
        file.seek(at)
        while len(entry := file.read(min(_ZIP_ENTRY_BYTES, end - at))) == _ZIP_ENTRY_BYTES:
            more = sum(_ZIP_ENTRY_LENGTHS.unpack_from(entry, 28))
            file.seek(more, os.SEEK_CUR)
            at += _ZIP_ENTRY_BYTES + more
            count += 1
            if count > most:
                raise UsageError(
                    f"{path} holds more than {most:,} members: unpack it and pass the folder"
                )


def write_within(pieces: Iterator[bytes], file: IO[bytes], most: int) -> bool:
    """Write pieces to a file; return whether there were no more bytes than ``most``."""
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            return False
        file.write(piece)
    return True
