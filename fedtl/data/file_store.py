"""Files of inputs in a folder or, without unpacking, in a zip or tar archive."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Protocol

from fedtl.data.budget import MOST_FILE_BYTES, MOST_TABLE_BYTES
from fedtl.data.image_formats import HEAD_BYTES
from fedtl.data.input_kinds import InputKind
from fedtl.data.left_aside import EMPTY_FOLDER, LeftAside, sorted_out
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.foreign_content import HEAD_BYTES as FOREIGN_BYTES
from fedtl.foreign_content import foreign_file
from fedtl.kinds import TABLES

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_KINDS = frozenset(
    {".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar"}
)
"""Last suffixes of files that hold other files."""
_SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".numbers"})
# The first part of a zip that is cut in parts begins with a mark of its own.
_SPANNED = b"PK\x07\x08"
_FIRST_PARTS = (".001", ".z01", ".part1", ".aa")


class FileStore(Protocol):
    """Files that are found once and read by number, from any thread.

    Attributes:
        kind: What the files are read as.
        paths: Relative POSIX path of each of them, sorted.
        left_aside: Files and empty folders that no input is read from.
        notes: What to tell the user about how names are read, a sentence each.
    """

    kind: InputKind
    paths: list[str]
    left_aside: list[LeftAside]
    notes: list[str]

    def read(self, index: int) -> bytes:
        """Return the bytes of ``paths[index]``.

        Raises:
            UnreadableImageError: The file cannot be read.
        """
        ...

    def head(self, index: int, count: int) -> bytes:
        """Return the first bytes of ``paths[index]``; fewer if it is shorter or cannot be read."""
        ...

    def text(self, name: str) -> bytes | None:
        """Return the bytes of the one file whose path is ``name`` or ends so; ``None`` if none."""
        ...


def open_file_store(path: Path, wanted: InputKind | None = None) -> FileStore:
    """Return the files under a folder or in an archive that inputs are read from.

    Args:
        path: The folder or archive.
        wanted: The kind of input; by default, what there is: see ``sorted_out``.

    Raises:
        UsageError: There is nothing at ``path``, it is neither a folder nor a sound archive, or a
            member of an archive is not to be read.
    """
    from fedtl.data.tar_store import TarStore, is_tar
    from fedtl.data.zip_store import ZipStore

    if path.is_dir():
        return _Folder(path, wanted)
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: --data wants a folder, a .zip or a .tar of images, texts or "
            "recordings, or a table"
        )
    if path.suffix.lower() in _SPREADSHEETS:
        raise UsageError(
            f"{path} is a spreadsheet: save its sheet as CSV (in Excel, CSV UTF-8), and give that"
        )
    try:
        with path.open("rb") as file:
            head = file.read(FOREIGN_BYTES)
        if not head.startswith(b"PK") and is_tar(path):
            return TarStore(path, wanted)
        return ZipStore(path, wanted)
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path} {_no_archive(path, head, str(error))}") from None
    except (tarfile.TarError, EOFError, ValueError, LookupError, OverflowError) as error:
        raise UsageError(f"{path} is a damaged tar archive ({error}): pack it again") from None
    except MemoryError:
        raise UsageError(f"{path} takes more memory than there is: unpack it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None


def _no_archive(path: Path, head: bytes, error: str) -> str:
    """Return what is wrong with a file that is no zip or tar archive."""
    if head.startswith(_SPANNED) or path.suffix.lower() in _FIRST_PARTS:
        return "is one part of an archive in several: unpack all parts together and pass the folder"
    neither = f"is neither a folder nor a sound zip or tar archive ({error.rstrip('.')})"
    if head.startswith(b"PK"):
        return f"{neither}, but a zip that is cut short or damaged: get it again"
    if what := foreign_file(head):
        cause, _, remedy = what.partition(": ")
        advice = remedy.replace("unpack it", "unpack it and pass the folder")
        return f"is {cause}: {advice or 'a folder, a .zip or a .tar of images is expected'}"
    if path.suffix.lower() in ARCHIVE_KINDS:
        return neither
    return f"{neither}; a table is known by its suffix: {', '.join(TABLES)}"


def file_digest(store: FileStore, index: int) -> bytes:
    """Return the SHA-256 of a file's bytes, or if there are none, of its path and why."""
    try:
        content = store.read(index)
    except UnreadableImageError as error:
        content = f"unreadable {store.paths[index]}: {error}".encode()
    return hashlib.sha256(content).digest()


def is_archive(path: Path) -> bool:
    """Return whether a file's name says that it is an archive of images."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def store_name(path: Path) -> str:
    """Return what a data set is called: the folder's or archive's name without suffix."""
    name = path.resolve().name
    ends = [end for end in ARCHIVE_SUFFIXES if name.lower().endswith(end)]
    return name[: -max(map(len, ends))] if ends and path.is_file() else name


class _Folder:
    def __init__(self, root: Path, wanted: InputKind | None) -> None:
        self._root = root
        names, empty = _walk(str(root))
        for name in names:
            try:
                name.encode()
            except UnicodeEncodeError:
                raise UsageError(
                    f"{root} has a file or folder name that is not UTF-8, {os.fsencode(name)!r}: "
                    "rename it"
                ) from None
        self.notes: list[str] = []
        self.kind, self.paths, self.left_aside = sorted_out(names, self._head, wanted)
        self.left_aside += [LeftAside(name, EMPTY_FOLDER) for name in sorted(empty)]

    def read(self, index: int) -> bytes:
        try:
            path = self._root / self.paths[index]
            if path.stat().st_size > MOST_FILE_BYTES:
                raise UnreadableImageError(f"larger than {MOST_FILE_BYTES >> 20} MiB")
            return path.read_bytes()
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error

    def head(self, index: int, count: int) -> bytes:
        return self._head(self.paths[index], count)

    def text(self, name: str) -> bytes | None:
        path = self._root / name
        if not path.is_file():
            return None
        if path.stat().st_size > MOST_TABLE_BYTES:
            raise UnreadableImageError(f"larger than {MOST_TABLE_BYTES >> 20} MiB")
        return path.read_bytes()

    def _head(self, name: str, count: int = HEAD_BYTES) -> bytes:
        try:
            with (self._root / name).open("rb", buffering=0) as file:
                return file.read(count)
        except OSError:
            return b""


def _walk(root: str) -> tuple[list[str], list[str]]:
    """Return every file below ``root`` as a relative path, and every folder that holds nothing.

    Links are followed, but not in circles.
    """
    found: list[str] = []
    empty: list[str] = []
    waiting = [("", frozenset[str]())]
    while waiting:
        prefix, above = waiting.pop()
        folder = os.path.join(root, prefix)  # noqa: PTH118 (100,000 times)
        here = above | {os.path.realpath(folder)}
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UsageError(f"{folder} cannot be read ({error.strerror})") from None
        if not entries and prefix and not prefix.startswith(".") and "/." not in prefix:
            empty.append(prefix.rstrip("/"))
        for entry in entries:
            if not entry.is_dir():
                # A pipe or a device would never end; a link to nothing is an image that is missed.
                if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):  # noqa: PTH110
                    found.append(prefix + entry.name)
            elif not entry.is_symlink() or os.path.realpath(entry.path) not in here:
                waiting.append((f"{prefix}{entry.name}/", here))
    return found, empty
