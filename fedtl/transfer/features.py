"""The feature cache: every image's features, computed once, found again by content.

Under ``<cache>/features/<extractor>/`` lie *views*, each the matrix of one ordered set of images,
named by their digests, and *segments*, the pieces of a view that is being computed. An extractor is
a backbone (its fingerprint) at a precision. A set that was asked for before is one view, mapped
into memory; any other takes the rows it shares with existing views and segments from there.

A process that adds to an extractor's folder holds its lock, a ``flock`` that the kernel takes back
from a killed process. Readers need no lock: files appear whole, by renaming, and never change.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import FedtlError
from fedtl.transfer.feature_file import (
    TEMPORARY_SUFFIX,
    DamagedFileError,
    FeatureFile,
    open_feature_file,
    write_feature_file,
)

_logger = logging.getLogger(__name__)


class FeatureStore:
    """The part of a feature cache that belongs to one extractor.

    Args:
        cache: The cache folder; made if need be.
        extractor: Hexadecimal name of the extractor.
        width: Number of features.

    Raises:
        FedtlError: (every method) The folder cannot be read or written, or the disk is full.
    """

    def __init__(self, cache: Path, *, extractor: str, width: int) -> None:
        self._cache = cache
        self._extractor = extractor
        self._width = width
        self._folder = cache / "features" / extractor
        self._views = self._folder / "views"
        self._segments = self._folder / "segments"
        self._may_remove = False
        with self._failing_in_a_sentence():
            self._views.mkdir(parents=True, exist_ok=True)
            self._segments.mkdir(exist_ok=True)

    @contextmanager
    def filling(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock to add files; wait for a process that holds it.

        Args:
            on_wait: Called with the name of that process, before a wait.
        """
        with self._failing_in_a_sentence():
            lock = (self._folder / "lock").open("a+")
        with lock:
            with self._failing_in_a_sentence():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.seek(0)
                    holder = lock.read().strip() or "another run"
                    on_wait(f"waiting for {holder}, which computes features in {self._cache}")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                lock.truncate(0)
                lock.write(_this_process())
                lock.flush()
                self._remove_abandoned()
            self._may_remove = True
            try:
                yield
            finally:
                self._may_remove = False

    def view(self, digests: NDArray[np.uint8]) -> FeatureFile | None:
        """Return the view of these images in this order, checked, or ``None`` if there is none.

        A view that is damaged counts as none; while filling, it is also removed.

        Args:
            digests: Shape ``(n, 32)``.
        """
        with self._failing_in_a_sentence():
            return self._usable(self._view_path(digests), {row.tobytes() for row in digests})

    def files_with(self, wanted: Iterable[bytes]) -> Iterator[FeatureFile]:
        """Yield, checked, files that together hold all cached features of the images.

        Args:
            wanted: Digests of the images.
        """
        missing = set(wanted)
        with self._failing_in_a_sentence():
            for path in (*sorted(self._views.iterdir()), *sorted(self._segments.iterdir())):
                file = self._usable(path, missing)
                if file is not None:
                    missing -= set(_readable(file))
                    yield file

    def add_segment(self, digests: NDArray[np.uint8], matrix: NDArray[np.float32]) -> FeatureFile:
        """Save a piece of a view to come; call this only while filling.

        Args:
            digests: Shape ``(n, 32)``.
            matrix: Shape ``(n, width)``.
        """
        path = self._segments / f"{_address(digests)}.features"
        return self._written(path, digests, [matrix], {})

    def add_view(
        self,
        digests: NDArray[np.uint8],
        blocks: Iterable[NDArray[np.float32]],
        unreadable: Mapping[int, str],
    ) -> FeatureFile:
        """Save a view and drop the segments that it makes superfluous; only while filling.

        Args:
            digests: Shape ``(n, 32)``.
            blocks: The matrix in pieces of some rows each, in order; zero in unreadable rows.
            unreadable: Why a row's image could not be decoded, by row.
        """
        file = self._written(self._view_path(digests), digests, blocks, unreadable)
        covered = {digest.tobytes() for digest in digests}
        with self._failing_in_a_sentence():
            for path in self._segments.iterdir():
                try:
                    segment = self._open(path)
                except DamagedFileError:
                    path.unlink()
                    continue
                if covered.issuperset(digest.tobytes() for digest in segment.digests):
                    path.unlink()
        return file

    def _view_path(self, digests: NDArray[np.uint8]) -> Path:
        return self._views / f"{_address(digests)}.features"

    def _open(self, path: Path) -> FeatureFile:
        return open_feature_file(path, extractor=self._extractor, width=self._width)

    def _usable(self, path: Path, wanted: set[bytes]) -> FeatureFile | None:
        """Return the file if it is sound and has features of one of the images."""
        try:
            file = self._open(path)
            if path.stem != _address(file.digests):
                raise DamagedFileError("it holds other images than its name says")
            if wanted.isdisjoint(_readable(file)):
                return None
            file.verify()
        except FileNotFoundError:
            return None
        except DamagedFileError as damage:
            if self._may_remove:
                _logger.warning("Feature cache: computing %s again: %s.", path, damage)
                path.unlink()
            return None
        return file

    def _written(
        self,
        path: Path,
        digests: NDArray[np.uint8],
        blocks: Iterable[NDArray[np.float32]],
        unreadable: Mapping[int, str],
    ) -> FeatureFile:
        with self._failing_in_a_sentence():
            write_feature_file(
                path,
                extractor=self._extractor,
                digests=digests,
                blocks=blocks,
                width=self._width,
                unreadable=unreadable,
            )
            return self._open(path)

    def _remove_abandoned(self) -> None:
        # Only the holder of the lock writes, so whatever is half-written now belongs to the dead.
        for path in (*self._views.iterdir(), *self._segments.iterdir()):
            if path.name.endswith(TEMPORARY_SUFFIX):
                path.unlink()

    @contextmanager
    def _failing_in_a_sentence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FedtlError(
                f"The feature cache {self._cache} cannot be used ({error.strerror}); free space or "
                f"grant access there, name another folder with --cache, or use --no-cache."
            ) from error


def _this_process() -> str:
    """Return a name of this process for those that wait for it."""
    since = time.strftime("%H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} (since {since})"


def _address(digests: NDArray[np.uint8]) -> str:
    return hashlib.sha256(digests.tobytes()).hexdigest()


def _readable(file: FeatureFile) -> Iterator[bytes]:
    return (
        digest.tobytes() for row, digest in enumerate(file.digests) if row not in file.unreadable
    )
