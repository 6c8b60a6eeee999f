"""What a file is that came in another's place: a pointer, a page, nothing at all."""

from __future__ import annotations

import re

HEAD_BYTES = 4096
"""How much of a file is looked at."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_BYTE_ORDER_AND_SPACE = b"\xef\xbb\xbf \t\r\n"


def foreign_content(content: bytes) -> str:
    """Return what a file is, with the remedy; empty if it is none of what comes in place of others.

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
