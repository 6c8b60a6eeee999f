"""Image files in a folder or, without unpacking, in a zip archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedtl.data.dataset import UnreadableImageError
from fedtl.errors import UsageError

# fmt: off
_IMAGE_SUFFIXES = frozenset({
    ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
_LOCAL_HEADER_BYTES = 30


class FileStore(Protocol):
    """Files that are found once and read by number, from any thread.

    Attributes:
        paths: Relative POSIX path of each image file, sorted.
    """

    paths: list[str]

    def read(self, index: int) -> bytes:
        """Return the bytes of ``paths[index]``.

        Raises:
            UnreadableImageError: The file cannot be read.
        """
        ...


def open_file_store(path: Path) -> FileStore:
    """Return the image files under a folder or in a zip; hidden files and other types are ignored.

    Raises:
        UsageError: There is nothing at ``path``, or it is neither a folder nor a sound zip.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist: --data wants a folder or a .zip of images")
    try:
        return _Zip(path)
    except zipfile.BadZipFile as error:
        raise UsageError(
            f"{path} is neither a folder nor a sound zip archive ({str(error).rstrip('.')})"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None


def _is_image(path: str) -> bool:
    parts = path.split("/")
    return (
        os.path.splitext(parts[-1])[1].lower() in _IMAGE_SUFFIXES  # noqa: PTH122 (100,000 times)
        and "__MACOSX" not in parts
        and not any(part.startswith(".") for part in parts)
    )


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.paths = sorted(path for path in _walk(str(root)) if _is_image(path))
        for path in self.paths:
            try:
                path.encode()
            except UnicodeEncodeError:
                raise UsageError(
                    f"{root} has a file or folder name that is not UTF-8, {os.fsencode(path)!r}: "
                    "rename it"
                ) from None

    def read(self, index: int) -> bytes:
        try:
            return (self._root / self.paths[index]).read_bytes()
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error


def _walk(root: str) -> list[str]:
    """Return every file below ``root`` as a relative path, following links but not in circles."""
    found: list[str] = []
    waiting = [("", frozenset[str]())]
    while waiting:
        prefix, above = waiting.pop()
        folder = os.path.join(root, prefix)  # noqa: PTH118 (100,000 times)
        here = above | {os.path.realpath(folder)}
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UsageError(f"{folder} cannot be read ({error.strerror})") from None
        for entry in entries:
            if not entry.is_dir():
                # A pipe or a device would never end; a link to nothing is an image that is missed.
                if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):  # noqa: PTH110
                    found.append(prefix + entry.name)
            elif not entry.is_symlink() or os.path.realpath(entry.path) not in here:
                waiting.append((f"{prefix}{entry.name}/", here))
    return found


@dataclass(frozen=True)
class _Member:
    header_offset: int
    compressed_size: int
    method: int
    crc: int


class _Zip:
    """A zip's image files.

    The archive's directory is parsed once. Reading a member opens the file anew and shares no
    state, so that any number of threads, and copies sent to other processes, may read at once:
    one ``ZipFile`` per thread would parse the directory each time, and a shared one is not
    documented as safe.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        members: dict[str, _Member] = {}
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                # Some archivers on Windows part folders by backslashes.
                name = info.filename.replace("\\", "/")
                if info.is_dir() or not _is_image(name):
                    continue
                if info.flag_bits & 1:
                    raise UsageError(
                        f"{path} is encrypted ({info.filename}): unpack it and pass the folder"
                    )
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise UsageError(
                        f"{path} is compressed by a method other than deflate ({info.filename}): "
                        "unpack it and pass the folder"
                    )
                members[name] = _Member(
                    info.header_offset, info.compress_size, info.compress_type, info.CRC
                )
        self.paths = sorted(members)
        self._members = [members[name] for name in self.paths]

    def read(self, index: int) -> bytes:
        member = self._members[index]
        try:
            with self._path.open("rb", buffering=0) as archive:
                start = member.header_offset
                header = os.pread(archive.fileno(), _LOCAL_HEADER_BYTES, start)
                # The last two 16-bit fields: how long the name and the extra field after it are.
                variable = int.from_bytes(header[26:28], "little")
                variable += int.from_bytes(header[28:30], "little")
                start += _LOCAL_HEADER_BYTES + variable
                data = os.pread(archive.fileno(), member.compressed_size, start)
            if member.method == zipfile.ZIP_DEFLATED:
                data = zlib.decompress(data, wbits=-zlib.MAX_WBITS)
        except (OSError, zlib.error) as error:
            raise UnreadableImageError(f"broken zip member ({error})") from error
        if zlib.crc32(data) != member.crc:
            raise UnreadableImageError("broken zip member (wrong checksum)")
        return data
