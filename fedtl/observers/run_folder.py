"""The run folder: everything a run leaves behind, written as it goes."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from fedtl.config import RunConfig
from fedtl.config_file import from_toml, to_toml
from fedtl.csv_cells import csv_table, csv_text, read_cell
from fedtl.errors import FedtlError, UsageError
from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint, write_checkpoint
from fedtl.federation.manifest import LEDGER_FILE, METRICS_FILE, FileDigests
from fedtl.federation.round_row import Round
from fedtl.federation.run_identity import IDENTITY_FILE, RunIdentity, Runtime, file_digest
from fedtl.federation.sound_checkpoint import newest_sound
from fedtl.json_file import parse_json, without_nan
from fedtl.observers.held_folder import HeldFolder, closed_if_refused, fresh_path, told
from fedtl.observers.observer import Observer
from fedtl.observers.remembered import Remembered
from fedtl.privacy.egress import LedgerEntry
from fedtl.results.over_seeds import seed_rows
from fedtl.results.result import RunResult
from fedtl.results.tables import clients_csv
from fedtl.results.unseen import head_rows

_EGRESS_COLUMNS = ("round", "client", "direction", "record", "shape", "bytes")


class RunFolder(HeldFolder, Observer):
    """One run's folder, held by one process at a time.

    Use :meth:`create` or :meth:`reopen`, then :meth:`close`.

    Attributes:
        path: The folder.
        config: The effective configuration.
        remembered: What is in it of rounds, warnings and what crossed the sites' borders.
        identity: The run's identity.
        knows_split: Whether the split was drawn before, and a checkpoint depends on it.
    """

    first_files: ClassVar[tuple[str, ...]] = (
        "config.toml",
        IDENTITY_FILE,
        LEDGER_FILE,
        METRICS_FILE,
    )
    work: ClassVar[str] = "run"
    vital: ClassVar[bool] = True

    def __init__(
        self, path: Path, config: RunConfig, lock: io.TextIOWrapper, identity: RunIdentity
    ) -> None:
        super().__init__(path, lock)
        self.config, self.identity = config, identity
        self.knows_split = False
        self._digests = FileDigests(path)
        self.remembered = Remembered()

    @classmethod
    def create(cls, config: RunConfig, runtime: Runtime = "simulation") -> RunFolder:
        """Make the folder and write the configuration first.

        Raises:
            FedtlError: It cannot be made, or it already holds a run.
        """
        path = Path(config.out).expanduser() if config.out else fresh_path(_name(config))
        lock, made = cls.make(path)
        text = to_toml(config)
        folder = cls(path, config, lock, RunIdentity.fresh(runtime, text))
        with folder.begins(made):
            # First: a run whose configuration nothing vouches for is an older fedtl's.
            folder.write(IDENTITY_FILE, folder.identity.to_json())
            folder.write("config.toml", text)
            folder._append(LEDGER_FILE, ",".join(_EGRESS_COLUMNS) + "\n")
            folder._append(METRICS_FILE, "")
        return folder

    @classmethod
    def way_on(cls, path: Path) -> str:
        """Return how to continue the run in a folder."""
        with suppress(FedtlError):
            identity = RunIdentity.read(path)
            if identity is not None and identity.runtime == "sites":
                return "choose another out"
        return super().way_on(path)

    @classmethod
    def reopen(
        cls, path: Path, settle: Callable[[RunConfig], RunConfig] | None = None
    ) -> tuple[RunFolder, Checkpoint | None]:
        """Reopen an interrupted simulation, from its last whole round.

        Args:
            path: The folder.
            settle: Turns the folder's configuration into the one to run, or refuses it.

        Raises:
            UsageError: There is no simulation in the folder, or another process uses it.
            FedtlError: Its files are damaged, or belong to different runs.
        """
        lock = cls.take_up(path)
        with told(path), closed_if_refused(lock):
            found = RunIdentity.read(path)
            config = from_toml(path / "config.toml")
            identity = found or RunIdentity.fresh(
                "simulation", (path / "config.toml").read_text(encoding="utf-8")
            )
            if identity.runtime != "simulation":
                raise UsageError(
                    f"{path} holds a run of real sites, whose data is not here, so it cannot be "
                    "finished as a simulation; start it again with flwr run and another out."
                )
            folder = cls(path, config if settle is None else settle(config), lock, identity)
            sound = newest_sound(path, None if found is None else found.run)
            folder.remembered.warnings += sound.warnings
            checkpoint = sound.checkpoint
            folder.knows_split = checkpoint is not None and folder.begun
            folder._cut_back(checkpoint.server_round if checkpoint else None, sound.files)
            if found is None:
                folder.write(IDENTITY_FILE, identity.to_json())
        return folder, checkpoint

    def settle(self, config: RunConfig) -> None:
        """Write the configuration anew, with what the data have settled of it.

        Raises:
            FedtlError: It cannot be written.
        """
        text = to_toml(config)
        self.config, self.identity = config, self.identity.settled_as(text)
        # First, so that the folder is a run's whenever the process ends.
        self.write(IDENTITY_FILE, self.identity.to_json())
        self.write("config.toml", text)

    @property
    def begun(self) -> bool:
        """Whether the clients are ready; in a run of real sites some may have answered."""
        return not self.resumable or (self.path / "partition.json").exists()

    @property
    def resumable(self) -> bool:
        """Whether an interrupted run can be resumed; a run of real sites cannot."""
        return self.identity.runtime == "simulation"

    @property
    def catches(self) -> bool:
        """Whether unexpected errors become a sentence, or are passed on."""
        return self.config.catches

    # --- what a run tells of itself ------------------------------------------------------------

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        """Append lines to ``egress.csv``."""
        self._append(LEDGER_FILE, csv_text(entries, line_end="\n"))

    def round(self, finished: Round, rounds: int) -> None:
        """Append one line to ``metrics.jsonl``."""
        self._append(METRICS_FILE, json.dumps(without_nan(finished.to_mapping())) + "\n")

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, with digests of the files that it depends on."""
        # A checkpoint on the disk that vouches for lines that a power cut took would be of no use.
        for name in (LEDGER_FILE, METRICS_FILE):
            with told(self.path / name), (self.path / name).open("ab") as file:
                os.fdatasync(file.fileno())
        manifest = {"run": self.identity.run, "files": self._digests.manifest()}
        write_checkpoint(self.path / "checkpoint", checkpoint, manifest)

    def seal(self) -> None:
        """Record that the run is finished, and its head, if it has a global one."""
        head = self.path / "head.safetensors"
        closed = replace(self.identity, head=file_digest(head) if head.exists() else "")
        self.identity = closed
        self.write(IDENTITY_FILE, closed.to_json())

    def ended(self, result: RunResult) -> None:
        """Write the head, the tables and the summary."""
        detail = result.detail
        assert detail is not None
        if result.trained is not None:
            self.write("head.safetensors", result.trained.to_bytes())
        self.write("clients.csv", clients_csv(detail))
        if detail.seeds:
            self.write_csv("seeds.csv", seed_rows(detail.seeds))
        if detail.unseen_sites:
            self.write_csv("unseen_sites.csv", head_rows(detail.unseen_sites))
        self.write("summary.json", json.dumps(result.figures, indent=2) + "\n")

    def faulted(self, where: str, fault: Fault) -> str | None:
        """Write an exception to ``errors.log``, and report the first of its kind."""
        return self.errors.enter(where, fault)

    # --- files ---------------------------------------------------------------------------------

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that all have the same keys as a CSV file."""
        self.write(name, csv_table(list(rows[0]) if rows else [], rows))

    def _append(self, name: str, text: str) -> None:
        content = text.encode()
        with told(self.path / name), (self.path / name).open("ab") as file:
            file.write(content)
        self._digests.appended(name, content)

    def _cut_back(self, server_round: int | None, files: Mapping[str, Any]) -> None:
        """Drop what was written after a checkpoint; the same will be written again.

        A round's line in ``metrics.jsonl`` is complete only with the next round's scores, so the
        checkpoint's own round has none yet.

        Args:
            server_round: The checkpoint's; ``None`` without one.
            files: The lengths that it counted; empty if it counted none.
        """
        done = -1 if server_round is None else server_round
        metrics, ledger = (
            _whole_lines(self.path / name, files.get(name, [None])[0])
            for name in (METRICS_FILE, LEDGER_FILE)
        )
        with _undamaged(self.path / METRICS_FILE):
            rows = [parse_json(line, str(self.path / METRICS_FILE)) for line in metrics]
            kept_rows = [row for row in rows if row["round"] < done]
            self.remembered.rounds = [Round.from_mapping(row) for row in kept_rows]
        kept = [",".join(_EGRESS_COLUMNS)]
        with _undamaged(self.path / LEDGER_FILE):
            for line in ledger[1:]:
                entered, _, direction, record, shape, size = map(
                    read_cell, next(csv.reader([line]))
                )
                if int(entered) <= done:
                    kept.append(line)
                    self.remembered.count(direction, record, shape, int(size))
        texts = {
            METRICS_FILE: "".join(json.dumps(row) + "\n" for row in kept_rows),
            LEDGER_FILE: "\n".join(kept) + "\n",
        }
        for name, text in texts.items():
            self.write(name, text)
            self._digests.begin(name, text.encode())


def _name(config: RunConfig) -> str:
    return config.name or Path(config.data.rpartition(":")[2]).stem or "run"


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, StopIteration, csv.Error) as error:
        raise FedtlError(f"{path} is damaged ({error}), so the run cannot go on.") from error


def _whole_lines(path: Path, length: int | None) -> list[str]:
    """Return the complete lines in a file's first ``length`` bytes."""
    if not path.exists():
        return []
    with path.open("rb") as file, _undamaged(path):
        text = file.read(length).decode()
    lines = text.split("\n")
    return lines[:-1]
