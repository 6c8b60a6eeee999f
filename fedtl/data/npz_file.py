"""Arrays from a .npz file the user has."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import UsageError


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays that the file holds; others in it are not read.

    Raises:
        UsageError: The file is missing or no .npz, or an array holds Python objects, which are
            never unpickled.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist, but a .npz file is expected there")
    arrays: dict[str, NDArray[Any]] = {}
    name = ""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UsageError(f"{path} is a single array, not a .npz file of named arrays")
        with archive:
            for name in names:
                if name in archive.files:
                    arrays[name] = archive[name]
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise UsageError(f"{path} is damaged or no .npz file") from None
    except ValueError as error:
        if "allow_pickle" in str(error) and name:
            raise UsageError(
                f"{path}: array {name} holds Python objects; save plain numbers or strings"
            ) from None
        raise UsageError(f"{path} is damaged or no .npz file") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    return arrays
