"""A file that is complete or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fedtl.errors import UnwrittenError


def write_atomically(path: Path, blob: bytes) -> None:
    """Write a file under another name, flush it to the disk, and move it into place.

    Raises:
        UnwrittenError: It cannot be written; an earlier file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # as where its folder is none
            temporary.unlink()
        raise UnwrittenError(
            f"{path} cannot be written: {error.strerror or error}; free space, or choose another "
            "folder."
        ) from error
