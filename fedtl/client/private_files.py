"""Files that a site keeps are private: mode 0600, in folders of mode 0700."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtl.errors import FedtlError

_logger = logging.getLogger(__name__)

# What a site writes into its cache.
_FOLDERS = ("features", "sites")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class OpenFilesError(FedtlError):
    """Other users could read or change what a site keeps, and that cannot be prevented."""


@contextmanager
def private() -> Iterator[None]:
    """Make all files and folders that this process creates in the block private to its user."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(cache: Path) -> None:
    """Make what a site keeps in its cache private to its user, and say so if it was not.

    The cache itself is made if it is not there. If it belongs to another user, only the folders in
    it must be private, and nobody may be able to replace them.

    Raises:
        OpenFilesError: That is not possible.
    """
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid == os.geteuid():
            opened = _closed(cache, 0o700)
        elif _is_anybodys(cache):
            raise OpenFilesError(
                f"The cache {cache} belongs to another user and others may write into it; name "
                "a folder of this user's own: cache = 'FOLDER' in the node config."
            )
        else:
            opened = 0
        for name in _FOLDERS:
            if not (cache / name).is_symlink():
                (cache / name).mkdir(mode=0o700, exist_ok=True)
            opened += _closed_below(cache / name)
    except OSError as error:
        raise OpenFilesError(
            f"The cache {cache} cannot be made private ({error.strerror}); name a folder of "
            "this user's own: cache = 'FOLDER' in the node config."
        ) from error
    _tell(opened, cache)


def close_folder(folder: Path) -> None:
    """Make a folder, if it is missing, and make it and its content private to its user.

    Raises:
        OpenFilesError: That is not possible, or others may replace the folder.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_anybodys(folder.parent):
            raise OpenFilesError(
                f"Others may replace {folder}: {folder.parent} belongs to another user and others "
                "may write into it; name another folder."
            )
        opened = _closed_below(folder)
    except OSError as error:
        raise OpenFilesError(
            f"The folder {folder} cannot be made, or cannot be made private ({error.strerror})."
        ) from error
    _tell(opened, folder)


def _tell(opened: int, folder: Path) -> None:
    if opened:
        _logger.warning(
            "%d files and folders of %s were open to other users of this machine; only this user "
            "can use them now",
            opened,
            folder,
        )


def _is_anybodys(folder: Path) -> bool:
    """Return whether a folder belongs to another user, and others may replace its content."""
    about = folder.stat()
    writable = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return about.st_uid != os.geteuid() and bool(writable) and not about.st_mode & stat.S_ISVTX


def _closed_below(folder: Path) -> int:
    """Make a folder and all below it private; return how many entries were not."""
    opened = _closed(folder, 0o700)
    for root, folders, files in os.walk(folder):
        opened += sum(_closed(Path(root, name), 0o700) for name in folders)
        opened += sum(_closed(Path(root, name), 0o600) for name in files)
    return opened


def _closed(path: Path, mode: int) -> int:
    """Make a file or folder of this user private; return 1 if it was not."""
    try:
        about = path.lstat()
        if not (stat.S_ISDIR(about.st_mode) or stat.S_ISREG(about.st_mode)):
            raise OpenFilesError(
                f"{path}, which this site keeps, is a link or not a regular file; remove it."
            )
        if about.st_uid != os.geteuid():
            raise OpenFilesError(
                f"{path}, which this site keeps, belongs to another user; remove it, or name "
                "another folder (cache, ledger) in the node config."
            )
        if not about.st_mode & _OTHERS:
            return 0
        path.chmod(mode)
    except FileNotFoundError:  # another process of this user's has just removed it
        return 0
    return 1
