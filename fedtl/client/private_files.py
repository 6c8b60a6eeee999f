"""What a site keeps of its data is its own: files of mode 0600 in folders of mode 0700."""

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
    """What a site keeps could be read or changed by others, and cannot be closed to them."""


@contextmanager
def private() -> Iterator[None]:
    """Have all files and folders that this process makes in the block be its user's alone."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(cache: Path) -> None:
    """Take what a site keeps in its cache from everyone but its user, and say so if it was open.

    The cache itself is made if it is not there. If it is another user's, only the folders in it
    are held to be private, and nobody may be able to put others in their place.

    Raises:
        OpenFilesError: That is not possible.
    """
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid == os.geteuid():
            opened = _closed(cache, 0o700)
        elif _is_anybodys(cache):
            raise OpenFilesError(
                f"The cache {cache} is another user's and others may write into it; name a folder "
                "of this user's own: cache = 'FOLDER' in the node config."
            )
        else:
            opened = 0
        for name in _FOLDERS:
            if not (cache / name).is_symlink():
                (cache / name).mkdir(mode=0o700, exist_ok=True)
            opened += _closed_below(cache / name)
    except OSError as error:
        raise OpenFilesError(
            f"The cache {cache} cannot be closed to others ({error.strerror}); name a folder of "
            "this user's own: cache = 'FOLDER' in the node config."
        ) from error
    _tell(opened, cache)


def close_folder(folder: Path) -> None:
    """Make a folder, if it is not there, and take it and what is in it from everyone but its user.

    Raises:
        OpenFilesError: That is not possible, or others may put another folder in its place.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_anybodys(folder.parent):
            raise OpenFilesError(
                f"Others may put another folder in the place of {folder}: {folder.parent} is "
                "another user's and others may write into it; name another one."
            )
        opened = _closed_below(folder)
    except OSError as error:
        raise OpenFilesError(
            f"The folder {folder} cannot be made, or not be closed to others ({error.strerror})."
        ) from error
    _tell(opened, folder)


def _tell(opened: int, folder: Path) -> None:
    if opened:
        _logger.warning(
            "%d files and folders of %s could be used by other users of this machine; they are "
            "this user's alone now",
            opened,
            folder,
        )


def _is_anybodys(folder: Path) -> bool:
    """Return whether a folder is another user's, and others may replace what is in it."""
    about = folder.stat()
    writable = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return about.st_uid != os.geteuid() and bool(writable) and not about.st_mode & stat.S_ISVTX


def _closed_below(folder: Path) -> int:
    """Close a folder and all below it; return how many things had been open."""
    opened = _closed(folder, 0o700)
    for root, folders, files in os.walk(folder):
        opened += sum(_closed(Path(root, name), 0o700) for name in folders)
        opened += sum(_closed(Path(root, name), 0o600) for name in files)
    return opened


def _closed(path: Path, mode: int) -> int:
    """Give a file or folder of this user's a mode that others have no part in; 1 if they had."""
    try:
        about = path.lstat()
        if not (stat.S_ISDIR(about.st_mode) or stat.S_ISREG(about.st_mode)):
            raise OpenFilesError(
                f"{path}, which this site keeps, is a link, or no file at all; remove it."
            )
        if about.st_uid != os.geteuid():
            raise OpenFilesError(
                f"{path}, which this site keeps, is another user's; remove it, or name another "
                "folder (cache, ledger) in the node config."
            )
        if not about.st_mode & _OTHERS:
            return 0
        path.chmod(mode)
    except FileNotFoundError:  # another process of this user's has just removed it
        return 0
    return 1
