"""Texts as inputs: those of a table's column, or one a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedtl.data.file_store import FileStore, file_digest
from fedtl.data.input_kinds import TEXT
from fedtl.errors import UnreadableImageError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Texts:
    """Texts held in memory: see :class:`~fedtl.data.dataset.Items`."""

    kind = TEXT

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self._texts[index].encode("utf-8", "surrogatepass")).digest()

    def load(self, index: int) -> str:
        """Return the text."""
        return self._texts[index]


class FileTexts:
    """Texts that are read from their files, in UTF-8, when they are asked for."""

    kind = TEXT

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.paths)

    def digest(self, index: int) -> bytes:
        """See :func:`~fedtl.data.file_store.file_digest`."""
        return file_digest(self._store, index)

    def load(self, index: int) -> str:
        """Return the text.

        Raises:
            UnreadableImageError: The file cannot be read, is not UTF-8, or has no text.
        """
        return decoded_text(self._store.read(index))


def decoded_text(content: bytes) -> str:
    """Return the text of a file.

    Raises:
        UnreadableImageError: It is not UTF-8 (or UTF-16 with its mark), or has no text.
    """
    try:
        text = content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableImageError("not UTF-8 text") from error
    if not text.strip():
        raise UnreadableImageError("an empty text")
    return text
