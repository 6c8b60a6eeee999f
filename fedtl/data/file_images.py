"""Pictures as inputs, one a file."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fedtl.data.decoding import decode_rgb, grey_extent, surely_shallow
from fedtl.data.file_store import FileStore, file_digest
from fedtl.data.grey_scale import Extent, GreyScale

# Enough for a PNG's depth.
_TELLING_BYTES = 33


class FileImages:
    """Pictures that are decoded from their files when they are asked for.

    Args:
        store: The files.
        scale: What is black and white in pictures of more than 8 bits.
    """

    def __init__(self, store: FileStore, scale: GreyScale | None = None) -> None:
        self._store = store
        self._scale = scale or GreyScale()

    def __len__(self) -> int:
        return len(self._store.paths)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file's bytes, or where there are none, of its path and why.

        A scale other than the plain one is part of it, as it alters the picture.
        """
        digest = file_digest(self._store, index)
        tag = self._scale.tag
        return hashlib.sha256(tag + digest).digest() if tag else digest

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the decoded picture, shape ``(height, width, 3)``; see ``decode_rgb``."""
        return decode_rgb(self._store.read(index), self._scale)

    def grey_extent(self, index: int) -> Extent | None:
        """Return a picture's smallest and largest grey value; see ``decoding.grey_extent``."""
        if surely_shallow(self._store.head(index, _TELLING_BYTES)):
            return None
        return grey_extent(self._store.read(index))

    def with_scale(self, scale: GreyScale) -> FileImages:
        """Return the same pictures on a scale."""
        return FileImages(self._store, scale)
