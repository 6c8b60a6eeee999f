"""Arrays from a .npz file the user has."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.budget import check_zip_directory, most_unpacked
from fedtl.errors import UsageError
from fedtl.foreign_content import HEAD_BYTES, foreign_content
from fedtl.free_memory import free_memory
from fedtl.wording import byte_size

_ADVICE = "save the features with their labels, np.savez('FILE.npz', x=x, y=y)"
# What people have in place of .npz, by the first bytes.
_OTHER_FILES = (
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x80", "a pickle, which could run code"),
    (b"\x93NUMPY", "an array of Python objects, which could run code"),
    (b"MATLAB", "a MATLAB file"),
)
_MOST_ARRAYS = 10_000
# Features hardly compress; labels and masks do by hundreds, and are small.
_RATIO, _ALWAYS = 20, 2**28
# Bytes that no machine lacks: asking it takes longer than reading them.
_NEGLIGIBLE = 2**20
_TABLES = (".csv", ".tsv", ".txt")


def array_names(path: Path) -> list[str]:
    """Return the names of a file's arrays.

    Raises:
        UsageError: The file is missing or no .npz.
    """
    return list(_loaded(path, None))


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays that the file holds; others in it are not read.

    Raises:
        UsageError: The file is missing or no .npz, or an array holds Python objects, which are
            never unpickled.
    """
    return _loaded(path, names)


def in_one_row(values: NDArray[Any]) -> NDArray[Any]:
    """Return a column, shape ``(N, 1)``, as shape ``(N,)``; anything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def whole_numbers(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return numbers of floating type as integers; ``None`` if one of them is not whole."""
    with np.errstate(invalid="ignore"):
        whole: NDArray[np.int64] = np.nan_to_num(values).astype(np.int64)
    return whole if np.array_equal(whole, values) else None


def as_names(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return names: bytes are UTF-8, or all Latin-1 if not all can be; ``3.0`` is called ``3``."""
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")
        except UnicodeDecodeError:
            return np.char.decode(values, "latin-1")
    whole = whole_numbers(values) if values.dtype.kind == "f" else None
    return (values if whole is None else whole).astype(np.str_)


def _loaded(path: Path, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the named arrays, or with ``None`` all names of arrays, none of them read."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder, but a .npz file is expected: {_ADVICE}")
    if not path.is_file():
        raise UsageError(f"{path} does not exist, but a .npz file is expected there")
    arrays: dict[str, Any] = {}
    name = ""
    try:
        with path.open("rb") as file:
            if _is_single_array(file):
                raise UsageError(
                    f"{path} is a single array, not a .npz file of named arrays: {_ADVICE}"
                )
        check_zip_directory(path, most=_MOST_ARRAYS)
        archive = np.load(path, allow_pickle=False)
        with archive:
            if what := _other_archive(archive.zip.namelist() if archive.zip else []):
                raise UsageError(f"{path} is {what}, not a .npz file: {_ADVICE}")
            if names is None:
                return dict.fromkeys(archive.files)
            for name in names:
                if name in archive.files:
                    check_array(path, archive, name)
                    arrays[name] = archive[name]
    except MemoryError:
        raise UsageError(f"{path}: there is too little memory for array {name}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise UsageError(f"{path} {_no_npz(path)}") from None
    except ValueError as error:
        if "Object arrays" in str(error) and name:
            raise UsageError(
                f"{path}: array {name} holds Python objects, which could run code: save plain "
                f"numbers or strings, {name}.astype(float) or {name}.astype(str)"
            ) from None
        raise UsageError(f"{path} {_no_npz(path)}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    return arrays


def check_array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> None:
    """Refuse an array that is not as large as its file says, or larger than can be meant.

    Raises:
        UsageError: It is.
        ValueError: It is no array.
    """
    assert archive.zip is not None
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    info = archive.zip.getinfo(member)
    with archive.zip.open(info) as file:
        shape, _, dtype = _header(file)
        held = info.file_size - file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        return  # which is refused as it is read
    if size != held:
        raise UsageError(
            f"{path} is damaged: array {name} says that it has {byte_size(size)}, and holds "
            f"{byte_size(held)}; copy or save it again"
        )
    free = free_memory() if size > _NEGLIGIBLE else None
    many = size > most_unpacked(info.compress_size, ratio=_RATIO, always=_ALWAYS)
    if many or (free is not None and size > free):
        why = "far more than its packed bytes" if many else f"and {byte_size(free or 0)} are free"
        raise UsageError(
            f"{path}: array {name} is too large to be read: it unpacks to {byte_size(size)}, "
            f"{why}; save a part of it, or save it with np.savez, which does not compress"
        )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of the array that begins here."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _is_single_array(file: IO[bytes]) -> bool:
    """Return whether a file is one array of plain numbers or texts."""
    if file.read(6) != b"\x93NUMPY":
        return False
    file.seek(0)
    return not _header(file)[2].hasobject


def _no_npz(path: Path) -> str:
    """Return what a file is that NumPy does not read, with the remedy."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if what := foreign_content(head):
        return f"is not a .npz file, but {what}"
    what = next((what for mark, what in _OTHER_FILES if head.startswith(mark)), "")
    if what or path.suffix.lower() in _TABLES:
        return f"is {what or 'a table of text'}, not a .npz file: {_ADVICE}"
    return "is damaged or not a .npz file: copy or save it again"


def _other_archive(members: Sequence[str]) -> str:
    """Return what a zip is that holds no arrays of NumPy's; empty if it holds some, or nothing."""
    if not members or any(name.endswith(".npy") for name in members):
        return ""
    torch = any(name.endswith("data.pkl") for name in members)
    return "a PyTorch file" if torch else "a zip archive of other files"
