"""A feature matrix that many processes read and none copies."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.feature_file import memory_map

_MEMORY_FOLDER = Path("/dev/shm")


@dataclass(frozen=True, eq=False)
class SharedFeatures:
    """Where a matrix of N features lies; small to send, whatever its size.

    Attributes:
        shape: ``(N, d)``; float32.
        path: The file that holds it, or ``None`` where ``array`` does.
        offset: Where in the file it begins, in bytes.
        array: The matrix itself, where processes on other machines must be sent it.
    """

    shape: tuple[int, int]
    path: Path | None
    offset: int = 0
    array: NDArray[np.float32] | None = None

    def tensor(self) -> Tensor:
        """Return the matrix; nobody may write to it."""
        if self.path is None:
            assert self.array is not None
            array = self.array
        else:
            array = memory_map(self.path, offset=self.offset, shape=self.shape)
        with warnings.catch_warnings():
            # Torch warns that the map is read-only; that is the point of it.
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(array)

    def travelling(self) -> SharedFeatures:
        """Return the same with the matrix in it, for machines that do not see the file."""
        return SharedFeatures(self.shape, None, array=self.tensor().numpy())


class Spill:
    """A folder in memory for matrices that have no file of their own; gone with this object."""

    def __init__(self) -> None:
        parent = _MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="fedtl-", dir=parent))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def share(self, array: NDArray[np.float32]) -> SharedFeatures:
        """Write a matrix of shape ``(N, d)`` where other processes find it."""
        path = self.folder / "features.f32"
        array.astype("<f4", copy=False).tofile(path)
        return SharedFeatures((array.shape[0], array.shape[1]), path)

    def close(self) -> None:
        """Remove the folder."""
        self._finalizer()
