"""A tar archive's image files, read where they lie; a compressed one is unpacked to one file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

from fedtl.data.archive_store import ArchiveStore
from fedtl.data.dataset import UnreadableImageError
from fedtl.data.image_formats import HEAD_BYTES
from fedtl.data.member_names import (
    names_as_meant,
    plain_name,
    refuse_link,
)

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class TarStore(ArchiveStore[tuple[int, int]]):
    """A tar's image files: see :class:`fedtl.data.file_store.FileStore`.

    A compressed tar can only be read from its start, so it is decompressed once, to a temporary
    file of the store's own.

    Raises:
        UsageError: A member is a symbolic link, or of an absolute name or one that leads out.
        tarfile.TarError: It is no sound tar archive.
    """

    def __init__(self, path: Path) -> None:
        tar, unpacked = _decompressed(path)
        members: dict[str, tuple[int, int]] = {}
        folders = []
        by_raw_name: dict[str, tuple[int, int] | None] = {}
        with tarfile.open(tar, "r:") as archive:
            infos = archive.getmembers()
            written, notes = names_as_meant(path, [os.fsencode(info.name) for info in infos])
            for info, named in zip(infos, written, strict=True):
                name = plain_name(path, named)
                if info.isdir():
                    folders.append(name)
                elif info.issym():
                    raise refuse_link(path, name)
                elif info.islnk():
                    # The same file under another name, which lies further up in the archive.
                    target = by_raw_name.get(info.linkname)
                    if target is None:
                        raise refuse_link(path, name)
                    members[name] = target
                elif info.isreg() and not info.issparse():
                    members[name] = (info.offset_data, info.size)
                by_raw_name[info.name] = members.get(name)
        super().__init__(tar, unpacked, members, folders, notes)

    def _read(self, name: str) -> bytes:
        start, size = self._members[name]
        try:
            data = self._at(start, size)
        except OSError as error:
            raise UnreadableImageError(f"broken tar member ({error.strerror})") from error
        if len(data) != size:
            raise UnreadableImageError("broken tar member (the archive is cut short)")
        return data

    def _head(self, name: str, count: int = HEAD_BYTES) -> bytes:
        start, size = self._members[name]
        try:
            return self._at(start, min(size, count))
        except OSError:
            return b""

    def _at(self, start: int, size: int) -> bytes:
        with self._path.open("rb", buffering=0) as archive:
            return os.pread(archive.fileno(), size, start)


def _decompressed(path: Path) -> tuple[Path, Any]:
    """Return an uncompressed tar, and what owns it where it is a temporary file."""
    with path.open("rb") as file:
        first = file.read(8)
    opener = next((opens for mark, opens in _OPENERS.items() if first.startswith(mark)), None)
    if opener is None:
        return path, None
    unpacked = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 (the store's)
    try:
        with opener(path, "rb") as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise tarfile.ReadError(str(error)) from None
    unpacked.flush()
    return Path(unpacked.name), unpacked
