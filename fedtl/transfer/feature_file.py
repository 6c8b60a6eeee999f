"""One file of features on disk: a matrix, the digest of each row's image, and checksums.

Layout: 64 bytes that begin with ``MAGIC``; the matrix, float32, little-endian, row after row; the
rows' digests, 32 bytes each; a JSON footer; and 48 bytes, the footer's length (uint64), its SHA-256
and ``MAGIC`` again. The footer comes last so that a matrix of any size is written in one pass, and
so that a file that was cut short shows it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"fedtlF01"
MATRIX_OFFSET = 64
DIGEST_BYTES = 32
TEMPORARY_SUFFIX = ".tmp"

_TAIL = struct.Struct("<Q32s8s")
_FLOAT_BYTES = 4
_VERIFYING_THREADS = 4


class DamagedFileError(Exception):
    """The file is not what it should be; the message says in a few words why."""


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """An open feature file; its arrays are memory-mapped and read-only.

    Attributes:
        path: Where it lies.
        digests: Shape ``(n, 32)``, uint8: which image each row belongs to.
        matrix: Shape ``(n, width)``, float32; zero in unreadable rows.
        unreadable: Why a row's image could not be decoded, by row.
    """

    path: Path
    digests: NDArray[np.uint8]
    matrix: NDArray[np.float32]
    unreadable: Mapping[int, str]

    _blocks: tuple[tuple[int, int], ...]

    def verify(self) -> None:
        """Read the whole file once and compare it with its checksums.

        Raises:
            DamagedFileError: A checksum differs.
        """
        content = memoryview(_mapped(self.path))
        ends = np.cumsum([MATRIX_OFFSET, *(length for length, _ in self._blocks)])
        blocks = [content[a:b] for a, b in itertools.pairwise(ends)]
        # CRC-32 lets go of Python's lock, so that blocks are read side by side.
        with ThreadPoolExecutor(_VERIFYING_THREADS) as pool:
            found = list(pool.map(zlib.crc32, blocks))
        if found != [checksum for _, checksum in self._blocks]:
            raise DamagedFileError("a checksum differs")


def memory_map(path: Path, *, offset: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a matrix that lies in a file, shared between processes, neither copied nor checked.

    Args:
        path: The file.
        offset: Where the matrix begins, in bytes.
        shape: Rows and columns.

    Returns:
        Shape ``shape``, float32, read-only.
    """
    count = shape[0] * shape[1]
    return np.frombuffer(_mapped(path), dtype="<f4", count=count, offset=offset).reshape(shape)


def write_feature_file(
    path: Path,
    *,
    extractor: str,
    digests: NDArray[np.uint8],
    blocks: Iterable[NDArray[np.float32]],
    width: int,
    unreadable: Mapping[int, str],
) -> None:
    """Write a feature file so that ``path`` never holds half of one, whenever this is killed.

    Args:
        path: Where to; replaced if it exists.
        extractor: What computed the features.
        digests: Shape ``(n, 32)``.
        blocks: The matrix in pieces of some rows each, in order.
        width: Columns of the matrix.
        unreadable: Why a row's image could not be decoded, by row.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    checksums: list[tuple[int, int]] = []
    try:
        with temporary.open("wb") as file:
            file.write(MAGIC.ljust(MATRIX_OFFSET, b"\0"))
            for block in itertools.chain[NDArray[Any]](blocks, [digests]):
                content = np.ascontiguousarray(block).data.cast("B")
                file.write(content)
                checksums.append((content.nbytes, zlib.crc32(content)))
            footer = json.dumps(
                {
                    "extractor": extractor,
                    "rows": len(digests),
                    "width": width,
                    "blocks": checksums,
                    "unreadable": sorted(unreadable.items()),
                }
            ).encode()
            file.write(footer)
            file.write(_TAIL.pack(len(footer), hashlib.sha256(footer).digest(), MAGIC))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def open_feature_file(path: Path, *, extractor: str, width: int) -> FeatureFile:
    """Open a feature file and check its frame, though not its contents: see ``verify``.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It is cut short, or belongs to another extractor or program.
    """
    size = path.stat().st_size
    if size < MATRIX_OFFSET + _TAIL.size:
        raise DamagedFileError("it is cut short")
    content = _mapped(path)
    length, checksum, magic = _TAIL.unpack(content[size - _TAIL.size : size])
    if content[: len(MAGIC)] != MAGIC:
        raise DamagedFileError("it is not a feature file")
    footer_at = size - _TAIL.size - length
    if magic != MAGIC or footer_at < MATRIX_OFFSET:
        raise DamagedFileError("it is cut short")
    footer = content[footer_at : footer_at + length]
    if hashlib.sha256(footer).digest() != checksum:
        raise DamagedFileError("a checksum differs")
    return _with_footer(path, json.loads(footer), footer_at, extractor, width)


def _with_footer(
    path: Path, footer: dict[str, Any], footer_at: int, extractor: str, width: int
) -> FeatureFile:
    if (footer["extractor"], footer["width"]) != (extractor, width):
        raise DamagedFileError("it belongs to another backbone")
    rows = int(footer["rows"])
    digests_at = MATRIX_OFFSET + rows * width * _FLOAT_BYTES
    if footer_at != digests_at + rows * DIGEST_BYTES:
        raise DamagedFileError("its size is not what it says")
    digests = np.frombuffer(
        _mapped(path), dtype=np.uint8, count=rows * DIGEST_BYTES, offset=digests_at
    )
    return FeatureFile(
        path=path,
        digests=digests.reshape(rows, DIGEST_BYTES),
        matrix=memory_map(path, offset=MATRIX_OFFSET, shape=(rows, width)),
        unreadable={int(row): str(reason) for row, reason in footer["unreadable"]},
        _blocks=tuple((int(length), int(checksum)) for length, checksum in footer["blocks"]),
    )


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
