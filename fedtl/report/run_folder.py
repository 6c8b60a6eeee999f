"""The run folder: everything a run leaves behind, written as it goes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from fedtl.config import RunConfig
from fedtl.config_file import from_toml, to_toml
from fedtl.errors import FedtlError
from fedtl.federation.checkpoint import Checkpoint, read_latest_checkpoint, write_checkpoint
from fedtl.privacy.egress import LedgerEntry
from fedtl.report.held_folder import HeldFolder, fresh_path, told
from fedtl.report.progress import RunProgress
from fedtl.report.result import EgressTotal

_EGRESS_COLUMNS = ("round", "client", "direction", "record", "shape", "bytes")


class RunFolder(HeldFolder):
    """One run's folder, held by one process at a time.

    Use :meth:`create` or :meth:`reopen`, then :meth:`close`.

    Attributes:
        path: The folder.
        config: The effective configuration.
        rounds: The rows of ``metrics.jsonl``.
        warnings: What went wrong and was survived, one sentence each.
    """

    first_files: ClassVar[tuple[str, ...]] = (
        "config.toml",
        "egress.csv",
        "metrics.jsonl",
    )
    work: ClassVar[str] = "run"

    def __init__(self, path: Path, config: RunConfig, lock: io.TextIOWrapper) -> None:
        super().__init__(path, lock)
        self.config = config
        self.rounds: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.progress: RunProgress | None = None
        self._egress: dict[tuple[str, str, str], tuple[int, int]] = {}

    @classmethod
    def create(cls, config: RunConfig) -> RunFolder:
        """Make the folder and write the configuration first.

        Raises:
            FedtlError: It cannot be made, or it holds a run already.
        """
        path = Path(config.out).expanduser() if config.out else fresh_path(_name(config))
        lock, made = cls.make(path)
        folder = cls(path, config, lock)
        with folder.begins(made):
            folder.write("config.toml", to_toml(config))
            (path / "egress.csv").write_text(",".join(_EGRESS_COLUMNS) + "\n")
            (path / "metrics.jsonl").touch()
        return folder

    @classmethod
    def reopen(cls, path: Path) -> tuple[RunFolder, Checkpoint | None]:
        """Take up a run that was cut off, from its last whole round.

        Raises:
            UsageError: There is no run in the folder, or another process is at it.
            FedtlError: Its checkpoint cannot be read.
        """
        lock = cls.take_up(path)
        with told(path):
            folder = cls(path, from_toml(path / "config.toml"), lock)
            checkpoint = read_latest_checkpoint(path / "checkpoint")
            folder._cut_back(checkpoint.server_round if checkpoint else None)
        return folder, checkpoint

    @property
    def begun(self) -> bool:
        """Whether the run has its clients."""
        return (self.path / "partition.json").exists()

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

    def note(self, text: str) -> None:
        """Tell the user something that is no warning."""
        if self.progress is not None:
            self.progress.note(text)

    def waits(self, text: str) -> None:
        """Tell the user what is being waited for."""
        if self.progress is not None:
            self.progress.status(text)

    # --- files ---------------------------------------------------------------------------------

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


def _name(config: RunConfig) -> str:
    return config.name or Path(config.data.rpartition(":")[2]).stem or "run"


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
