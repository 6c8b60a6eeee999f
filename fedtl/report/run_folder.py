"""The run folder: everything a run leaves behind, written as it goes."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedtl.config import RunConfig
from fedtl.config_file import from_toml, to_toml
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.checkpoint import (
    Checkpoint,
    read_latest_checkpoint,
    write_atomically,
    write_checkpoint,
)
from fedtl.privacy.egress import LedgerEntry
from fedtl.report.progress import RunProgress
from fedtl.report.result import EgressTotal

_FIRST_FILES = ("config.toml", "egress.csv", "metrics.jsonl", "unreadable.csv")
_EGRESS_COLUMNS = ("round", "client", "direction", "record", "shape", "bytes")


class RunFolder:
    """One run's folder, held by one process at a time.

    Use :meth:`create` or :meth:`reopen`, then :meth:`close`.

    Attributes:
        path: The folder.
        config: The effective configuration.
        rounds: The rows of ``metrics.jsonl``.
        warnings: What went wrong and was survived, one sentence each.
    """

    def __init__(self, path: Path, config: RunConfig, lock: io.TextIOWrapper) -> None:
        self.path, self.config, self._lock = path, config, lock
        self.rounds: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.progress: RunProgress | None = None
        self._egress: dict[tuple[str, str, str], tuple[int, int]] = {}
        # What create() made, innermost first; None where the run was there before.
        self._made: list[Path] | None = None

    @classmethod
    def create(cls, config: RunConfig) -> RunFolder:
        """Make the folder and write the configuration first.

        Raises:
            FedtlError: It cannot be made, or it holds a run already.
        """
        path = Path(config.out).expanduser() if config.out else fresh_path(_name(config))
        with told(path):
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            if (path / "config.toml").exists():
                raise UsageError(
                    f"{path} holds a run already; go on with --resume {path}, "
                    "or choose another --out."
                )
            folder = cls(path, config, hold(path))
            folder._made = made
            try:
                folder.write("config.toml", to_toml(config))
                (path / "egress.csv").write_text(",".join(_EGRESS_COLUMNS) + "\n")
                (path / "metrics.jsonl").touch()
            except BaseException:
                folder.discard_if_unbegun()
                folder.close()
                raise
        return folder

    @classmethod
    def reopen(cls, path: Path) -> tuple[RunFolder, Checkpoint | None]:
        """Take up a run that was cut off, from its last whole round.

        Raises:
            UsageError: There is no run in the folder, or another process is at it.
            FedtlError: Its checkpoint cannot be read.
        """
        if not (path / "config.toml").is_file():
            raise UsageError(f"{path} holds no run to resume: it has no config.toml.")
        with told(path):
            folder = cls(path, from_toml(path / "config.toml"), hold(path))
            checkpoint = read_latest_checkpoint(path / "checkpoint")
            folder._cut_back(checkpoint.server_round if checkpoint else None)
        return folder, checkpoint

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def discard_if_unbegun(self) -> None:
        """Remove what :meth:`create` made, where the run failed before it had clients."""
        if self._made is None or (self.path / "partition.json").exists():
            return
        for name in (*_FIRST_FILES, ".lock"):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # the user's own files stay, and so do the folders around them
            for folder in self._made:
                folder.rmdir()

    # --- the journal of a federation -----------------------------------------------------------

    def enter_egress(self, entries: Sequence[LedgerEntry]) -> None:
        """Append lines to ``egress.csv``."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(entries)
        self._append("egress.csv", text.getvalue())
        for entry in entries:
            self._count(entry.direction, entry.record, entry.shape, entry.bytes)

    def enter_round(self, row: Mapping[str, Any], rounds: int) -> None:
        """Append one line to ``metrics.jsonl``."""
        clean = without_nan(row)
        self.rounds.append(clean)
        self._append("metrics.jsonl", json.dumps(clean) + "\n")
        if self.progress is not None:
            score = clean["test_accuracy"]
            shown = clean.get("accuracy") if score is None else score
            self.progress.round(int(clean["round"]), rounds, shown)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint."""
        write_checkpoint(self.path / "checkpoint", checkpoint)

    def warn(self, text: str) -> None:
        """Tell the user, and remember it for the report."""
        self.warnings.append(text)
        if self.progress is not None:
            self.progress.warn(text)

    # --- files ---------------------------------------------------------------------------------

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder, whole or not at all.

        Raises:
            FedtlError: It cannot be written.
        """
        path = self.path / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        return path

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that all have the same keys as a CSV file."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        self.write(name, text.getvalue())

    def egress_totals(self) -> list[EgressTotal]:
        """Return what crossed the sites' borders, summed over clients and rounds, largest first."""
        totals = [
            EgressTotal("up" if way == "up" else "down", record, shape, messages, size)
            for (way, record, shape), (messages, size) in self._egress.items()
        ]
        return sorted(totals, key=lambda total: (total.direction != "up", -total.bytes))

    def _append(self, name: str, text: str) -> None:
        with told(self.path / name), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def _count(self, direction: str, record: str, shape: str, size: int) -> None:
        messages, before = self._egress.get((direction, record, shape), (0, 0))
        self._egress[direction, record, shape] = (messages + 1, before + size)

    def _cut_back(self, server_round: int | None) -> None:
        """Drop what was written after the last checkpoint; it will be written again, the same.

        A round's line in ``metrics.jsonl`` awaits the score that the next round brings, so the
        checkpoint's own round has none yet.
        """
        done = -1 if server_round is None else server_round
        path = self.path / "metrics.jsonl"
        with _undamaged(path):
            rows = [json.loads(line) for line in _whole_lines(path)]
            self.rounds = [row for row in rows if row["round"] < done]
        path, kept = self.path / "egress.csv", [",".join(_EGRESS_COLUMNS)]
        with _undamaged(path):
            for line in list(_whole_lines(path))[1:]:
                entered, _, direction, record, shape, size = next(csv.reader([line]))
                if int(entered) <= done:
                    kept.append(line)
                    self._count(direction, record, shape, int(size))
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rounds))
        self.write("egress.csv", "\n".join(kept) + "\n")


def without_nan(value: Any) -> Any:
    """Return JSON-like data with NaN, which JSON has not, as null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def fresh_path(name: str) -> Path:
    """Return ``runs/<time>-<name>``, with a number joined where that exists."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "run"
    first = path = Path("runs") / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{slug}"
    number = 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def _name(config: RunConfig) -> str:
    return config.name or Path(config.data.rpartition(":")[2]).stem or "run"


def hold(path: Path) -> io.TextIOWrapper:
    """Return a lock on a folder, which closing it or the end of the process lets go.

    Raises:
        UsageError: Another process holds it.
    """
    lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UsageError(
            f"Another process is at work in {path}; wait for it, or choose another --out."
        ) from None
    return lock


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn trouble with the disk into one sentence that names ``path``."""
    try:
        yield
    except OSError as error:
        raise FedtlError(
            f"{path} cannot be written: {error.strerror or error}; "
            "make room, mend its permissions, or choose another --out."
        ) from error


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise FedtlError(f"{path} is damaged ({error}), so the run cannot go on.") from error


def _whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines that were written to their end."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield line.rstrip("\n")
