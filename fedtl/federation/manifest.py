"""What a checkpoint says about the files beside it, and whether that still holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS_FILE, LEDGER_FILE = "metrics.jsonl", "egress.csv"

# Written once, before the first round.
_FIXED = ("config.toml", "partition.json", "contents.npz")
# What a checkpoint vouches for is their beginning; more may follow.
_GROWING = (METRICS_FILE, LEDGER_FILE, "pseudonyms.csv")

_CHUNK = 2**20


class FileDigests:
    """Lengths and SHA-256 of a run's files, followed as they grow.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, Any]] = {}

    def appended(self, name: str, content: bytes) -> None:
        """Record what was appended to a file."""
        length, digest = self._known.get(name, (0, None))
        digest = digest or hashlib.sha256()
        digest.update(content)
        self._known[name] = length + len(content), digest

    def begin(self, name: str, content: bytes) -> None:
        """Record a file's whole content."""
        self._known[name] = len(content), hashlib.sha256(content)

    def manifest(self) -> dict[str, list[Any]]:
        """Return length and SHA-256 of every file that a checkpoint lists."""
        for name in (*_FIXED, *_GROWING):
            path = self._folder / name
            if name not in self._known and path.exists():
                self.begin(name, path.read_bytes())
        return {name: [length, sha.hexdigest()] for name, (length, sha) in self._known.items()}


def difference(folder: Path, files: Mapping[str, Any]) -> str:
    """Return which file contradicts a manifest, and how; empty if none does.

    Args:
        folder: The run folder.
        files: What :meth:`FileDigests.manifest` returned.
    """
    for name, (length, sha256) in files.items():
        path = folder / name
        if not path.exists():
            return f"{path} is missing"
        size = path.stat().st_size
        if size < length:
            return f"{path} has {size:,} bytes, but the checkpoint counted {length:,}"
        if size > length and name not in _GROWING:
            return f"{path} is longer than it was"
        if _beginning(path, length) != sha256:
            return f"{path} is damaged, or belongs to another run"
    return ""


def _beginning(path: Path, length: int) -> str:
    """Return the SHA-256 of a file's first ``length`` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length and (chunk := file.read(min(length, _CHUNK))):
            digest.update(chunk)
            length -= len(chunk)
    return digest.hexdigest()
