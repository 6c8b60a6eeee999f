"""A tar archive's image files, read where they lie; a compressed one is unpacked to one file."""

from __future__ import annotations

import lzma
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

from fedtl.data.archive_store import ArchiveStore
from fedtl.data.budget import MOST_FILE_BYTES, MOST_MEMBERS, is_compressed, unpacked
from fedtl.data.image_formats import HEAD_BYTES
from fedtl.data.input_kinds import InputKind
from fedtl.data.member_names import (
    names_as_meant,
    plain_name,
    refuse_link,
)
from fedtl.errors import UnreadableImageError, UsageError

_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error)
# Of a header: where the member's size and kind are, and the kinds that are texts for the next one.
_SIZE, _KIND = slice(124, 136), 156
_OF_TEXT, _LONGEST_TEXT = b"xgXLK", 2**24


class TarStore(ArchiveStore[tuple[int, int]]):
    """A tar's image files: see :class:`fedtl.data.file_store.FileStore`.

    A compressed tar can only be read from its start, so it is decompressed once, to a temporary
    file of the store's own.

    Raises:
        UsageError: A member is a symbolic link, or of an absolute name or one that leads out.
        tarfile.TarError: It is no sound tar archive.
    """

    def __init__(self, path: Path, wanted: InputKind | None = None) -> None:
        tar, owned = _decompressed(path)
        _check_headers(path, tar)
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
        super().__init__(tar, owned, members, folders, notes, wanted)

    def _read(self, name: str) -> bytes:
        start, size = self._members[name]
        if size > MOST_FILE_BYTES:
            raise UnreadableImageError(f"larger than {MOST_FILE_BYTES >> 20} MiB")
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


def is_tar(path: Path) -> bool:
    """Return whether a file begins as a tar does, compressed or not; no member is read."""
    try:
        with path.open("rb") as file:
            first = file.read(tarfile.BLOCKSIZE)
        if is_compressed(first):
            first = next(unpacked(path), b"")[: tarfile.BLOCKSIZE]
        tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except (*_BROKEN, UsageError, tarfile.HeaderError):
        return False
    return True


def _decompressed(path: Path) -> tuple[Path, Any]:
    """Return an uncompressed tar, and what owns it where it is a temporary file."""
    with path.open("rb") as file:
        first = file.read(8)
    if not is_compressed(first):
        return path, None
    whole = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 (the store's)
    try:
        for piece in unpacked(path):
            whole.write(piece)
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise tarfile.ReadError(str(error)) from None
    whole.flush()
    return Path(whole.name), whole


def _check_headers(path: Path, tar: Path) -> None:
    """Refuse a tar that cannot be an archive of pictures before its members are read.

    Raises:
        UsageError: It has too many members, or the text that a header announces has no end.
    """
    size, count = tar.stat().st_size, 0
    with tar.open("rb") as file:
        while len(header := file.read(tarfile.BLOCKSIZE)) == tarfile.BLOCKSIZE:
            try:
                length = tarfile.nti(header[_SIZE])  # type: ignore[attr-defined] # as tarfile does
            except tarfile.HeaderError:
                return
            if length < 0:
                return
            if header[_KIND] in _OF_TEXT and length > _LONGEST_TEXT:
                raise UsageError(
                    f"{path} has a header of {length:,} bytes, which no archive of pictures has: "
                    "unpack it and pass the folder"
                )
            if length > size:
                return
            file.seek(-(-length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
            count += 1
            if count > MOST_MEMBERS:
                raise UsageError(
                    f"{path} holds more than {MOST_MEMBERS:,} members: unpack it and pass the "
                    "folder"
                )
