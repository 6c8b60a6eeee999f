"""The last resort of all commands: an unexpected error becomes a sentence, its traceback a file.

Mistakes that users make have their own sentence where they occur. With ``engine = debug`` an
unexpected error ends the command with its traceback.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path

from fedtl.errors import FedtlError, first_line
from fedtl.fault import MOST_OF_A_KIND, Fault, Kinds, placed

LOG = "errors.log"

_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)


def unforeseen(error: BaseException, folder: Path | None) -> FedtlError:
    """Return the sentence for an exception, and write its traceback to a file.

    Args:
        error: The exception.
        folder: The run folder, whose ``errors.log`` is continued; ``None``, or one that cannot be
            written, for a file in the folder for temporary files.
    """
    own = placed(error)
    sentence = f"{_cause(error)}{own}; {_remedy(error, own)}"
    log = _written(folder, f"{_now()}\n{Fault.of(error).traceback}")
    where = "the traceback could not be written" if log is None else f"the traceback is in {log}"
    return FedtlError(f"{sentence} ({where}).")


class ErrorLog:
    """A folder's ``errors.log``, for faults that do not end the work: a few of every kind.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kinds = Kinds()

    def enter(self, where: str, fault: Fault) -> str:
        """Write a fault, unless enough of its kind are written.

        Args:
            where: Round and client, or the run.
            fault: The fault.

        Returns:
            A sentence for the user; empty if a fault of its kind was reported before.
        """
        count = self._kinds.count(fault)
        if count > MOST_OF_A_KIND:
            return ""
        text = f"{_now()} {where}: {fault.sentence}\n{fault.traceback}"
        if count == MOST_OF_A_KIND:
            text += "Further errors of this kind are not written.\n"
        try:
            log = _appended(self._folder, text)
        except OSError as error:
            told = f"the traceback could not be written ({error.strerror})"
        else:
            told = f"the traceback is in {log}; further errors of this kind are not shown"
        return f"{where}: {fault.sentence}; {told}" if count == 1 else ""


class _Loose:
    """The exception that nothing may catch; ``None`` unless the command is ending."""

    error: BaseException | None = None


def let_through(error: BaseException) -> None:
    """Let an exception end the command with its traceback instead of a sentence."""
    _Loose.error = error


def is_let_through(error: BaseException) -> bool:
    """Return whether an exception is the one that nothing may catch."""
    return error is _Loose.error


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _appended(folder: Path, text: str) -> Path:
    with (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return folder / LOG


def _written(folder: Path | None, text: str) -> Path | None:
    """Return the file with the text; ``None`` if none could be written."""
    try:
        if folder is not None:
            return _appended(folder, text)
    except OSError:
        pass
    try:
        # A name of its own: in a folder that all may write, a known one may be somebody's link.
        handle, name = tempfile.mkstemp(prefix="fedtl-", suffix=f"-{LOG}")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return None
    return Path(name)


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        at = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        told = _NO_ROOM.get(error.errno) or error.strerror or type(error).__name__
        return f"{at}{told}"
    if _is_memory(error):
        return "there is too little memory"
    said = first_line(error) if isinstance(error, Exception) else ""
    name = type(error).__name__
    return name if said in ("", name) else f"{name}: {said.rstrip('.')}"


def _remedy(error: BaseException, own: str) -> str:
    """Return what to do; ``own`` is where in the user's own code the error arose, or empty."""
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return "free space, or choose another --out, --cache or TMPDIR"
        if error.errno in _NO_ACCESS:
            return "correct the permissions there, or choose another folder"
        if error.errno == errno.EMFILE:
            return "let the process open more files (ulimit -n 4096)"
        if isinstance(error, FileNotFoundError) and not own:
            return "something removed it while it was needed: restore it and start again"
    if _is_memory(error):
        return "free some, or use fewer actors (--client-cpus 2) or --engine inline"
    if type(error).__module__.partition(".")[0] == "ray":
        return "--engine inline needs no Ray"
    if own:
        return "that is your own code: correct it there, or use --engine debug to see more"
    if isinstance(error, ImportError):
        return "the installation is incomplete: pip install --force-reinstall fedtl"
    return "this is a defect of fedtl; please report it"


def _is_memory(error: BaseException) -> bool:
    # Torch's own, of a GPU or of the CPU, are RuntimeErrors.
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in said or "can't allocate memory" in said)
    )
