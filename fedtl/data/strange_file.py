"""What a file is that is none of what was expected, by its first bytes."""

from __future__ import annotations

import re

HEAD = 4096
"""How many of a file's first bytes are looked at."""

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


def what_else(head: bytes, size: int) -> str:
    """Return what a file is, and what to do about it; empty if its first bytes do not tell.

    Args:
        head: Its first ``HEAD`` bytes.
        size: How many it has.
    """
    if not head:
        return "empty: download it again"
    if head.startswith(_POINTER):
        found = re.search(rb"size (\d+)", head)
        whole = f" of {int(found[1]):,} bytes" if found else ""
        return f"a git-lfs pointer to a file{whole}: fetch that with git lfs pull"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page that a download gave in its place: download it again, by a browser"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML message that a download gave in its place: download it again"
    if text.startswith(b"{") and size < HEAD:
        return "a JSON message that a download gave in its place: download it again"
    return next((what for mark, what in _OTHER_FILES if head.startswith(mark)), "")
