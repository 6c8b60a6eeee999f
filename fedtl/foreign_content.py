"""Recognises a file that replaces the expected one: a pointer, a page, another format."""

from __future__ import annotations

import re

HEAD_BYTES = 4096
"""How much of a file is looked at."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_OTHER_FILES = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    (b"\x1f\x8b", "compressed by gzip: unpack it"),
    (b"BZh", "compressed by bzip2: unpack it"),
    (b"\xfd7zXZ", "compressed by xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"\x93NUMPY", "an array of NumPy's"),
    (b"PAR1", "a Parquet file"),
    (b"GGUF", "a GGUF file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_TAR = slice(257, 262), b"ustar"
_BYTE_ORDER_AND_SPACE = b"\xef\xbb\xbf \t\r\n"


def foreign_content(content: bytes) -> str:
    """Return what a file is, with the remedy; empty if it is not recognised.

    Args:
        content: The whole file, or its first ``HEAD_BYTES`` bytes if it is longer.
    """
    if not content:
        return "an empty file: download or copy it again"
    if content.startswith(_POINTER):
        found = re.search(rb"size (\d+)", content)
        whole = f" of {int(found[1]):,} bytes" if found else ""
        return f"a git-lfs pointer to a file{whole}: fetch that with git lfs pull"
    text = content[:HEAD_BYTES].lstrip(_BYTE_ORDER_AND_SPACE).lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page that a download gave in its place: download it again, by a browser"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML message that a download gave in its place: download it again"
    if text.startswith(b"{") and len(content) < HEAD_BYTES:
        return "a JSON message that a download gave in its place: download it again"
    return ""


def foreign_file(head: bytes) -> str:
    """Return what a file is that is not a picture, with the remedy; empty if unknown.

    Args:
        head: The whole file, or its first ``HEAD_BYTES`` bytes if it is longer.
    """
    place, mark = _TAR
    if head[place] == mark:
        return "a tar archive: unpack it"
    other = next((what for mark, what in _OTHER_FILES if head.startswith(mark)), "")
    return other or foreign_content(head)
