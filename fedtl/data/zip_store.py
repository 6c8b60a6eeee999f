"""A zip's image files, read where they lie."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedtl.data.archive_store import ArchiveStore
from fedtl.data.budget import (
    LARGEST_DICTIONARY,
    MOST_FILE_BYTES,
    check_zip_directory,
    most_unpacked,
    write_within,
)
from fedtl.data.image_formats import HEAD_BYTES, picture_suffixes, suffix_of
from fedtl.data.input_kinds import InputKind
from fedtl.data.member_names import (
    names_as_meant,
    plain_name,
    refuse_link,
)
from fedtl.errors import UnreadableImageError, UsageError, first_line
from fedtl.wording import byte_size

_DEEPEST = 3
_LOCAL_HEADER_BYTES = 30
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 1
_UNICODE_PATH = 0x7075
# What Python reads; Windows packs large files by a tenth, Deflate64.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# Nothing is unpacked to a disk here, so that flat masks, too, may be what they are.
_RATIO_OF_ALL, _ALWAYS_OF_ALL = 100, 2**30
_WIDEST_RATIO = 1100  # a head's compressed bytes are few, whatever its file is
_BROKEN = (OSError, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error)


@dataclass(frozen=True)
class _Member:
    header_offset: int
    compressed_size: int
    size: int
    method: int
    crc: int


class ZipStore(ArchiveStore[_Member]):
    """A zip's image files: see :class:`fedtl.data.file_store.FileStore`.

    The archive's directory is parsed once. Reading a member opens the file anew and shares no
    state, so that any number of threads, and copies sent to other processes, may read at once:
    one ``ZipFile`` per thread would parse the directory each time, and a shared one is not
    documented as safe. A zip that holds one zip and no picture is looked through.

    Raises:
        UsageError: A member is encrypted, compressed in a way that Python does not read, a link,
            or of an absolute name or one that leads out of the archive.
        zipfile.BadZipFile: It is no sound zip.
    """

    def __init__(self, path: Path, wanted: InputKind | None = None) -> None:
        whole, unpacked = _looked_through(path)
        check_zip_directory(whole)
        members: dict[str, _Member] = {}
        folders = []
        with zipfile.ZipFile(whole) as archive:
            infos = archive.infolist()
        if any(info.volume for info in infos) or path.with_suffix(".z01").exists():
            raise UsageError(
                f"{path} is one part of a zip archive in several: unpack all parts together and "
                "pass the folder"
            )
        _check_sizes(path, whole.stat().st_size, infos)
        names, notes = _names(path, infos)
        for info, written in zip(infos, names, strict=True):
            name = plain_name(path, written)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise refuse_link(path, name)
            if info.is_dir() or written.endswith("\\"):
                folders.append(name)
                continue
            if info.flag_bits & _ENCRYPTED_FLAG:
                raise UsageError(f"{path} is encrypted ({name}): unpack it and pass the folder")
            if info.compress_type not in _METHODS:
                how = zipfile.compressor_names.get(info.compress_type, f"{info.compress_type}")  # type: ignore[attr-defined]
                raise UsageError(
                    f"{path} is compressed by a method that Python does not read, {how} ({name}): "
                    "unpack it and pass the folder"
                )
            members[name] = _Member(
                info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
            )
        super().__init__(whole, unpacked, members, folders, notes, wanted)

    def _head(self, name: str, count: int = HEAD_BYTES) -> bytes:
        member = self._members[name]
        try:
            if member.method == zipfile.ZIP_LZMA or member.method == zipfile.ZIP_BZIP2:
                return self._read(name)[:count]
            data = self._compressed(member, count * _WIDEST_RATIO)
            if member.method == zipfile.ZIP_DEFLATED:
                return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, count)
            return data[:count]
        except (*_BROKEN, UnreadableImageError):
            return b""

    def _read(self, name: str) -> bytes:
        member = self._members[name]
        if member.size > MOST_FILE_BYTES:
            raise UnreadableImageError(f"larger than {MOST_FILE_BYTES >> 20} MiB")
        try:
            data = _decompressed(self._compressed(member, member.compressed_size), member)
        except _BROKEN as error:
            raise UnreadableImageError(f"broken zip member ({error})") from error
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise UnreadableImageError("broken zip member (wrong checksum)")
        return data

    def _compressed(self, member: _Member, most: int) -> bytes:
        with self._path.open("rb", buffering=0) as archive:
            start = member.header_offset
            header = os.pread(archive.fileno(), _LOCAL_HEADER_BYTES, start)
            # The last two 16-bit fields: how long the name and the extra field after it are.
            variable = int.from_bytes(header[26:28], "little")
            variable += int.from_bytes(header[28:30], "little")
            start += _LOCAL_HEADER_BYTES + variable
            return os.pread(archive.fileno(), min(most, member.compressed_size), start)


def _check_sizes(path: Path, size: int, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive whose members cannot be what they say.

    Raises:
        UsageError: They lie over each other, or unpack to far more than pictures do.
    """
    if sum(info.compress_size for info in infos) > size:
        raise UsageError(
            f"{path} says that its members have more bytes than the whole archive: it is "
            "damaged, or made to fill a disk"
        )
    total = sum(info.file_size for info in infos)
    if total > most_unpacked(size, ratio=_RATIO_OF_ALL, always=_ALWAYS_OF_ALL):
        raise UsageError(
            f"{path}, of {byte_size(size)}, says that it unpacks to {byte_size(total)}, which no "
            "archive of pictures does: if it is right, unpack it and pass the folder"
        )


def _decompressed(data: bytes, member: _Member) -> bytes:
    """Return a member's bytes, and no more than the archive says that there are."""
    if member.method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
    if member.method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(data, member.size + 1)
    if member.method == zipfile.ZIP_LZMA:
        # Two bytes of version and two of the length of five of properties, then the stream.
        properties = data[4 : 4 + int.from_bytes(data[2:4], "little")]
        packed, dictionary = properties[0], int.from_bytes(properties[1:5], "little")
        if dictionary > LARGEST_DICTIONARY:
            raise ValueError("it needs too much memory to be unpacked")
        rest, lc = divmod(packed, 9)
        pb, lp = divmod(rest, 5)
        chain = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
        return stream.decompress(data[4 + len(properties) :], member.size + 1)
    return data


def _names(path: Path, infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], list[str]]:
    """Return the members' names in the code page that they were written in, and what to tell."""
    told = [
        _unicode_path(info)
        or (info.orig_filename.partition("\0")[0] if info.flag_bits & _UTF8_FLAG else "")
        for info in infos
    ]
    # Python reads names that do not say otherwise as the format has it, to the byte.
    raw = [
        info.orig_filename.partition("\0")[0].encode("cp437")
        for info, name in zip(infos, told, strict=True)
        if not name
    ]
    meant, notes = names_as_meant(path, raw)
    rest = iter(meant)
    return [name or next(rest) for name in told], notes


def _unicode_path(info: zipfile.ZipInfo) -> str:
    """Return the name of Info-ZIP's extra field, in UTF-8; empty if there is none."""
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == _UNICODE_PATH and 5 < length <= len(extra) - 4:
            return extra[9 : 4 + length].decode("utf-8", "replace")
        extra = extra[4 + length :]
    return ""


def _looked_through(path: Path) -> tuple[Path, Any]:
    """Return the zip to read: ``path``, or the one zip inside it, unpacked to a temporary file.

    The second value owns the temporary file, which is removed with it.
    """
    inside, owned = path, None
    for _ in range(_DEEPEST):
        check_zip_directory(inside)
        with zipfile.ZipFile(inside) as archive:
            lone = _lone_zip(archive.infolist())
            if lone is None:
                break
            most = most_unpacked(inside.stat().st_size)
            unpacked = tempfile.NamedTemporaryFile(suffix=".zip")  # noqa: SIM115 (the store's)
            try:
                with archive.open(lone) as inner:
                    pieces = iter(partial(inner.read, 1 << 20), b"")
                    fits = lone.file_size <= most and write_within(pieces, unpacked, most)
                unpacked.flush()
            except (NotImplementedError, zlib.error, lzma.LZMAError, MemoryError) as error:
                raise UsageError(
                    f"{path} holds one zip, which cannot be read ({first_line(error)}): unpack it "
                    "and pass what is inside"
                ) from None
            if not fits:
                raise UsageError(
                    f"{path} holds one zip, which unpacks to far more than its size: unpack it and "
                    "pass what is inside"
                )
        inside, owned = Path(unpacked.name), unpacked
    return inside, owned


def _lone_zip(infos: Sequence[zipfile.ZipInfo]) -> zipfile.ZipInfo | None:
    """Return the one zip among members none of which is a picture; ``None`` if there is none."""
    zips = []
    for info in infos:
        if info.is_dir() or "__MACOSX" in info.filename:
            continue
        suffix = suffix_of(info.filename)
        if suffix in picture_suffixes():
            return None
        if suffix == ".zip":
            zips.append(info)
    return zips[0] if len(zips) == 1 and not zips[0].flag_bits & _ENCRYPTED_FLAG else None
