"""What the image files of zips and tars have in common: members are found by their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from fedtl.data.image_formats import HEAD_BYTES
from fedtl.data.input_kinds import InputKind
from fedtl.data.left_aside import EMPTY_FOLDER, LeftAside, sorted_out
from fedtl.data.member_names import empty_folders, the_one

M = TypeVar("M")
"""Where a member lies in the archive."""


class ArchiveStore(ABC, Generic[M]):
    """An archive's image files: see :class:`fedtl.data.file_store.FileStore`.

    Args:
        path: The archive that is read.
        unpacked: What owns it, if it is a temporary file.
        members: Where each file lies, by its name.
        folders: Names of the folders that are members of their own.
        notes: What to tell the user about the names, a sentence each.
        wanted: See :func:`~fedtl.data.file_store.open_file_store`.
    """

    def __init__(
        self,
        path: Path,
        unpacked: Any,
        members: dict[str, M],
        folders: Sequence[str],
        notes: list[str],
        wanted: InputKind | None,
    ) -> None:
        self._path, self._unpacked = path, unpacked
        self._members, self.notes = members, notes
        self.kind, self.paths, self.left_aside = sorted_out(members, self._head, wanted)
        empty = empty_folders(folders, list(members))
        self.left_aside += [LeftAside(name, EMPTY_FOLDER) for name in empty]

    def __getstate__(self) -> dict[str, Any]:
        # A copy reads what this one unpacked, but does not own it.
        return {**self.__dict__, "_unpacked": None}

    def read(self, index: int) -> bytes:
        """Return the bytes of an image file; a checksum, if there is one, is compared."""
        return self._read(self.paths[index])

    def head(self, index: int, count: int) -> bytes:
        """Return the first bytes of an image file; fewer if it cannot be read."""
        return self._head(self.paths[index], count)

    def text(self, name: str) -> bytes | None:
        """Return the bytes of the one file of that name, whatever it is."""
        found = the_one(list(self._members), name)
        return None if found is None else self._read(found)

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Return the bytes of a member."""

    @abstractmethod
    def _head(self, name: str, count: int = HEAD_BYTES) -> bytes:
        """Return the first bytes of a member; none if it cannot be read."""
