"""Which files are pictures: what the installed Pillow, and the installed extras, can decode."""

from __future__ import annotations

import importlib.util
import os
import re
from functools import cache

# Pillow knows these by name, but decodes none of them by itself: PostScript is a program that
# Ghostscript would run, and of a film it reads the size alone.
_NOT_DECODED = frozenset({"EPS", "MPEG"})
# Their first bytes are those of other files, too, such as of source code.
_NOT_TOLD_BY_CONTENT = frozenset({"GBR", "XBM"})
# Saved under a suffix of its own, read by the plugin of another format.
_READ_AS_JPEG = "MPO"

_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
_HEIF_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_SUFFIXES = frozenset({".avif", ".avifs"})

# Pillow's own tests of first bytes fail where there are fewer.
_FEWEST_TELLING = 16

# A dot and a word; what follows the dot of IMG.0001, or of a number with dots, is no suffix.
_SUFFIX = re.compile(r"\.(7z|[a-z][a-z0-9]{0,4})")

HEAD_BYTES = 132
"""How much of a file tells what it is: DICOM's mark comes after 128 bytes that mean nothing."""


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the formats that Pillow decodes here, by Pillow's names."""
    from PIL import Image, ImageFile

    if has_heif():
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return tuple(
        name
        for name, (factory, _) in Image.OPEN.items()
        if name not in _NOT_DECODED
        # What Pillow recognises, and leaves to programs that are not there.
        and not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
    )


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of files that can be decoded here, in lower case, with their dot."""
    from PIL import Image, features

    known = {*readable_formats(), _READ_AS_JPEG}
    suffixes = {end for end, name in Image.registered_extensions().items() if name in known}
    if not features.check("avif"):
        suffixes -= _AVIF_SUFFIXES
    return frozenset(suffixes | (_DICOM_SUFFIXES if has_dicom() else frozenset()))


def suffix_of(name: str) -> str:
    """Return a file's suffix in lower case with its dot; empty if the name has none."""
    end = os.path.splitext(name)[1].lower()  # noqa: PTH122 (100,000 times)
    return end if end in picture_suffixes() or _SUFFIX.fullmatch(end) else ""


def content_kind(head: bytes) -> str:
    """Return what a file without suffix is.

    Args:
        head: Its first ``HEAD_BYTES`` bytes.

    Returns:
        A suffix; ``picture`` for what Pillow decodes; empty for anything else.
    """
    from PIL import Image

    if is_dicom(head):
        return ".dcm"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return ".heic"
    if len(head) < _FEWEST_TELLING:
        return ""
    for name in readable_formats():
        accepts = Image.OPEN[name][1]
        if accepts is not None and name not in _NOT_TOLD_BY_CONTENT and accepts(head[:16]):
            return "picture"
    return ""


def is_dicom(head: bytes) -> bool:
    """Return whether a file says that it is DICOM."""
    return head[128:132] == b"DICM"


def has_dicom() -> bool:
    """Return whether the extra ``dicom`` is installed."""
    return importlib.util.find_spec("pydicom") is not None


def has_heif() -> bool:
    """Return whether the extra ``heic`` is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def remedy_of(kind: str) -> str:
    """Return what makes files of a kind readable; empty if that is not known."""
    if kind in _DICOM_SUFFIXES:
        return "pip install 'fedtl[dicom]'"
    if kind in _HEIF_SUFFIXES:
        return "pip install 'fedtl[heic]'"
    if kind in _AVIF_SUFFIXES:
        return "pip install --upgrade pillow"
    return ""
