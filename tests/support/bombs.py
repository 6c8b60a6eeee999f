"""Small files that claim, or unpack to, more than any machine holds: a program of its own.

``python -m bombs FOLDER`` makes each under FOLDER and gives it to a command, which may take 1 GB of
addresses beyond what was imported; a JSON object says of each how it ended, in how many seconds,
and by how many bytes the largest memory grew.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import shutil
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_process import finished

from fedtl import simulate

MEGABYTE = 2**20
MORE_ADDRESSES = 2**30
# Noughts are packed to a 230th by this level as well.
_QUICK = 1
_HEAD = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(side: int) -> bytes:
    rows = zlib.compress(bytes(side * (side + 1)), _QUICK)
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", size), _chunk(b"IDAT", rows), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _deflated(times: int) -> bytes:
    """Return a deflate stream of so many times 100 MB of noughts."""
    packer = zlib.compressobj(_QUICK, zlib.DEFLATED, -15)
    part = packer.compress(bytes(100 * MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * times + zlib.compressobj(_QUICK, zlib.DEFLATED, -15).flush()


def _zip(name: bytes, data: bytes, size: int, method: int = 8) -> bytes:
    """Return a zip of one member that says that it unpacks to ``size`` bytes."""
    wide = struct.pack("<HHQ", 1, 8, size)
    head = _HEAD.pack(b"PK\3\4", 45, 0, method, 0, 33, 0, len(data), 2**32 - 1, len(name), 0)
    entry = _ENTRY.pack(
        *(b"PK\1\2", 45, 45, 0, method, 0, 33, 0, len(data), 2**32 - 1, len(name), len(wide)),
        *(0, 0, 0, 0, 0),
    )
    entry += name + wide
    place = len(head) + len(name) + len(data)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), place, 0)
    return b"".join((head, name, data, entry, end))


def _zip_of_many(count: int) -> bytes:
    entry = _ENTRY.pack(b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, *([0] * 6)) + b"x"
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, len(entry) * count, 0, 0)
    return entry * count + end


def _header(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("a/x.png")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def _array(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _npz(path: Path, **arrays: list[bytes]) -> Path:
    """Write arrays, each in pieces: one of hundreds of megabytes takes longer."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_QUICK) as archive:
        for name, pieces in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                member.writelines(pieces)
    return path


def _sparse(path: Path) -> Path:
    """Return a file of 80 GB that takes no place."""
    with path.open("wb") as file:
        file.truncate(80 * 2**30)
    return path


def _torch(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def _packed(path: Path) -> Path:
    loose = path.rename(path.with_suffix(".loose"))
    with (
        zipfile.ZipFile(loose) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_QUICK) as packed,
    ):
        for name in archive.namelist():
            with archive.open(name) as content, packed.open(name, "w") as member:
                shutil.copyfileobj(content, member, MEGABYTE)
    return path


def _laughing() -> dict[str, Any]:
    inner: dict[str, Any] = {"t": torch.zeros(1)}
    for _ in range(4):
        inner = {str(number): inner for number in range(300)}
    return inner


def bombs(folder: Path) -> dict[str, list[str]]:
    """Make them; return the flags that give each to ``simulate``."""
    picture = _png(13_300)
    for label in "ab":
        for number in range(4):
            path = folder / "pictures" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture if number == 0 else b"no picture")
    noughts = gzip.compress(bytes(100 * MEGABYTE), _QUICK)
    deflated = _deflated(82)
    files = {
        "member.zip": _zip(b"a/x.png", deflated, 8_600_000_000),
        "nested.zip": _zip(b"inner.zip", deflated, 8_600_000_000),
        "lying.zip": _zip(b"inner.zip", deflated, 1000),
        "many.zip": _zip_of_many(1_100_000),
        "t.tar.gz": gzip.compress(_header(b"0", 0)) + noughts * 82,
        "pax.tar.gz": gzip.compress(_header(b"g", 80 * 2**30)) + noughts * 82,
        "name.tar": _header(b"L", 2**62) + bytes(2048),
        "huge.tar": _header(b"0", 2**62) + bytes(2048),
        "deep.toml": b"a = " + b"[" * 30_000 + b"]" * 30_000,
        "dots.toml": b"a" + b".a" * 32_000 + b" = 1",
        "deep.json": b"[" * 1_000_000,
        "one.npy": _array((10**13,)) + bytes(100),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    y = io.BytesIO()
    np.save(y, np.arange(60) % 3)
    labels = [y.getvalue()]
    arrays = {
        "claimed": _npz(folder / "c.npz", x=[_array((60, 10**11)), bytes(99)], y=labels),
        "packed": _npz(
            folder / "p.npz", x=[_array((60, 2 * 10**6)), *[bytes(10**6)] * 480], y=labels
        ),
        "wide labels": _npz(
            folder / "w.npz", x=[_array((60, 4)), bytes(960)], y=[_array((60,), "|S1000000000")]
        ),
    }
    weights = {
        "packed": _packed(_torch(folder / "z.pt", {"a": torch.zeros(50_000_000)})),
        "repeated": _torch(
            folder / "e.pt", {name: torch.zeros(1).expand(10**6, 10**6) for name in "ab"}
        ),
        "laughing": _torch(folder / "l.pt", _laughing()),
    }
    large = str(_sparse(folder / "large"))
    archives = [name for name in files if name.endswith((".zip", ".tar", ".gz"))]
    return {
        "pictures": ["--data", str(folder / "pictures")],
        **{name: ["--data", str(folder / name)] for name in archives},
        **{name: ["--config", str(folder / name)] for name in files if name.endswith("toml")},
        "large.toml": ["--config", large],
        "deep.json": ["--partition", f"file:{folder / 'deep.json'}", "--hospitals-images", "40"],
        "large.json": ["--partition", f"file:{large}", "--hospitals-images", "40"],
        "labels": ["--data", str(folder / "pictures"), "--labels", large],
        "npy": ["--data", f"features:{folder / 'one.npy'}"],
        **{f"npz {name}": ["--data", f"features:{path}"] for name, path in arrays.items()},
        **{
            f"weights {name}": ["--hospitals-images", "40", "--weights", str(path)]
            for name, path in weights.items()
        },
    }


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1])
    ends = {}
    given = bombs(folder)
    most = _bytes_of("VmSize") + MORE_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for name, flags in given.items():
        # What Linux tells is the largest so far, unless it is told to begin anew.
        Path("/proc/self/clear_refs").write_text("5")
        before, began = _bytes_of("VmHWM"), time.monotonic()
        common = ["--engine", "inline", "--no-cache", "--clients", 2, "--quiet"]
        end = finished(simulate.main, *flags, *common, "--out", folder / "run")
        seconds, grown = time.monotonic() - began, _bytes_of("VmHWM") - before
        ends[name] = [end.exit_code, end.stderr, seconds, grown]
    print(json.dumps(ends))


def _bytes_of(what: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0]) * 1024


if __name__ == "__main__":
    main()
