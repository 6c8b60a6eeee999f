"""A feature matrix that many processes read and none copies."""

from __future__ import annotations

import os
import tempfile
import warnings
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.errors import FedtlError
from fedtl.free_memory import free_memory
from fedtl.transfer.feature_file import memory_map


@dataclass(frozen=True, eq=False)
class SharedFeatures:
    """Where a matrix of N features lies; small to send, whatever its size.

    Attributes:
        shape: ``(N, D + d)``; float32.
        path: The file that holds it, or ``None`` if ``array`` does.
        offset: Where in the file it begins, in bytes.
        array: The matrix itself, where processes on other machines must be sent it.
        boundary_size: How many of the columns, the first ones, are what is below trained blocks, D.
    """

    shape: tuple[int, int]
    path: Path | None
    offset: int = 0
    array: NDArray[np.float32] | None = None
    boundary_size: int = 0

    @property
    def feature_size(self) -> int:
        """How many features there are, d."""
        return self.shape[1] - self.boundary_size

    def parts(self) -> tuple[Tensor, Tensor | None]:
        """Return features ``(N, d)``, and what is below trained blocks, ``(N, D)``, if any are."""
        whole = self.tensor()
        if not self.boundary_size:
            return whole, None
        return whole[:, self.boundary_size :], whole[:, : self.boundary_size]

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
        return replace(self, path=None, offset=0, array=self.tensor().numpy())


class Spill:
    """Matrices that have no file in the cache, in memory or on disk; gone with this object.

    Their files have no name, so that the system frees them with the last process that has them
    open, however that ends; others open them at ``/proc/<pid>/fd/<number>``. Memory that has no
    name is not ``/dev/shm`` either, which in a container has 64 MB or cannot be written.
    """

    def __init__(self) -> None:
        self._files: list[IO[bytes]] = []
        self._finalizer = weakref.finalize(self, _close, self._files)

    def share(self, array: NDArray[np.float32]) -> SharedFeatures:
        """Write a matrix of shape ``(N, d)`` where other processes of this machine find it.

        Raises:
            FedtlError: Neither memory nor the folder for temporary files has room for it.
        """
        matrix = array.astype("<f4", copy=False)
        try:
            file = _nameless(matrix.nbytes)
            self._files.append(file)
            matrix.tofile(file)
            file.flush()
        except OSError as error:
            raise FedtlError(
                f"{matrix.nbytes / 1e6:,.0f} MB of features fit neither into memory nor into "
                f"{tempfile.gettempdir()} ({error.strerror or error}); free memory, or set TMPDIR "
                "to a folder with room."
            ) from error
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        return SharedFeatures((array.shape[0], array.shape[1]), path)

    def close(self) -> None:
        """Let go of the matrices; whoever has mapped one keeps it."""
        self._finalizer()


def _nameless(size: int) -> IO[bytes]:
    """Return a file without a name: in memory if that has room for it twice, else on disk."""
    free = free_memory()
    if hasattr(os, "memfd_create") and (free is None or 2 * size < free):
        return os.fdopen(os.memfd_create("fedtl-features"), "w+b")
    return tempfile.TemporaryFile(prefix="fedtl-")


def _close(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
