"""The folder of a comparison: its plan first, then every run as it finishes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from fedtl.comparison.plan import Cell, Plan
from fedtl.comparison.result import CellResult
from fedtl.config_file import to_toml
from fedtl.csv_cells import csv_table
from fedtl.json_file import without_nan
from fedtl.observers.held_folder import HeldFolder, fresh_path, told

_PLAN = "comparison.json"


class ComparisonFolder(HeldFolder):
    """A comparison's folder, held by one process at a time.

    Use :meth:`create` or :meth:`reopen`, then :meth:`close`.

    Attributes:
        path: The folder.
        plan: What is compared.
    """

    first_files: ClassVar[tuple[str, ...]] = (_PLAN, "duplicates.csv")
    work: ClassVar[str] = "comparison"

    def __init__(self, path: Path, plan: Plan, lock: io.TextIOWrapper) -> None:
        super().__init__(path, lock)
        self.plan = plan

    @classmethod
    def create(cls, plan: Plan, out: str) -> ComparisonFolder:
        """Make the folder and write the plan first.

        Raises:
            FedtlError: It cannot be made, or it already holds a comparison.
        """
        path = Path(out).expanduser() if out else fresh_path(plan.base.name or "comparison")
        lock, made = cls.make(path)
        folder = cls(path, plan, lock)
        with folder.begins(made):
            folder.write(_PLAN, plan.to_json())
        return folder

    @classmethod
    def reopen(cls, path: Path) -> ComparisonFolder:
        """Reopen an interrupted comparison.

        Raises:
            UsageError: There is none in the folder, or another process uses it.
        """
        lock = cls.take_up(path)
        with told(path):
            text = (path / _PLAN).read_text(encoding="utf-8")
            return cls(path, Plan.from_json(text, str(path / _PLAN)), lock)

    def settle(self, plan: Plan) -> None:
        """Write the plan anew, with what the data have settled of it.

        Raises:
            FedtlError: It cannot be written.
        """
        self.plan = plan
        self.write(_PLAN, plan.to_json())

    @property
    def begun(self) -> bool:
        """Whether a run or a search has finished."""
        return any((self.path / name).exists() for name in ("cells", "tuned"))

    @property
    def catches(self) -> bool:
        """Whether unexpected errors become a sentence, or are passed on."""
        return self.plan.base.catches

    def result_of(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell; ``None`` if it has not run, or ran differently."""
        path = self._cells / f"{cell.name}.json"
        if not path.is_file():
            return None
        try:
            result = CellResult.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError, KeyError):
            return None  # it is run again, which costs seconds
        return result if result.config == cell.config.to_mapping() else None

    def enter(self, cell: Cell, result: CellResult) -> None:
        """Keep the result of a cell, and the configuration that reproduces it."""
        self.write(f"cells/{cell.name}.toml", to_toml(cell.config))
        self.write(f"cells/{cell.name}.json", result.to_json())

    def read_tuned(self, cell: Cell) -> dict[str, float] | None:
        """Return what a finished search chose for a cell; ``None`` if it has not finished."""
        path = self.path / "tuned" / f"{cell.name}.json"
        if not path.is_file():
            return None
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["chosen"]
        return found

    def enter_tuned(
        self, cell: Cell, chosen: Mapping[str, float], trials: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep what a search chose, and its trials."""
        content = {"chosen": chosen, "trials": trials}
        self.write(f"tuned/{cell.name}.json", json.dumps(content, indent=2) + "\n")

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as a CSV file; columns that a row lacks are empty."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        clean = [without_nan(row) for row in rows]
        self.write(name, csv_table(columns, clean, line_end="\n"))

    @property
    def _cells(self) -> Path:
        return self.path / "cells"
