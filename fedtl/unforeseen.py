"""The net below all commands: what nobody foresaw is a sentence, and its traceback a file.

It is the net, not the cure: a mistake that users make has a sentence of its own where it is made.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
import traceback
from pathlib import Path

from fedtl.errors import FedtlError, first_line

LOG = "errors.log"

_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)


def unforeseen(error: BaseException, folder: Path | None) -> FedtlError:
    """Return what to tell of an exception, and write its traceback to a file.

    Args:
        error: The exception.
        folder: The run folder, whose ``errors.log`` is continued; ``None``, or one that cannot be
            written, for a file in the folder for temporary files.
    """
    sentence = f"{_cause(error)}; {_remedy(error)}"
    text = time.strftime("%Y-%m-%d %H:%M:%S\n") + "".join(traceback.format_exception(error))
    log = _written(folder, text)
    where = "the traceback could not be written" if log is None else f"the traceback is in {log}"
    return FedtlError(f"{sentence} ({where}).")


def _written(folder: Path | None, text: str) -> Path | None:
    """Return the file that has the text now; ``None`` if none could be written."""
    try:
        if folder is not None:
            with (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return folder / LOG
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


def _remedy(error: BaseException) -> str:
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return "make room, or choose another --out, --cache or TMPDIR"
        if error.errno in _NO_ACCESS:
            return "mend the permissions there, or choose another folder"
        if error.errno == errno.EMFILE:
            return "let the process open more files (ulimit -n 4096)"
        if isinstance(error, FileNotFoundError):
            return "something removed it while it was needed: put it back and start again"
    if _is_memory(error):
        return "free some, or use fewer actors (--client-cpus 2) or --engine inline"
    if isinstance(error, ImportError):
        return "the installation is not whole: pip install --force-reinstall fedtl"
    if type(error).__module__.partition(".")[0] == "ray":
        return "--engine inline needs no Ray"
    return "this is a defect of fedtl, or of a class of yours that it runs; please report it"


def _is_memory(error: BaseException) -> bool:
    # Torch's own, of a GPU or of the CPU, are RuntimeErrors.
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in said or "can't allocate memory" in said)
    )
