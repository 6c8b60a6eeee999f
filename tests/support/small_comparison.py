"""A small comparison by ``fedtl.compare``, and its tables read back."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from in_process import Finished, finished

from fedtl import compare

QUICK = ("--clients", 4, "--rounds", 3, "--partition", "dirichlet", "--engine", "inline")


def overlapping(folder: Path) -> Path:
    """Write features of four classes that overlap, with a test split; return the file."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 4, 600)
    x = rng.normal(0, 1, (600, 12)) + rng.normal(0, 0.6, (4, 12))[y]
    path = folder / "features.npz"
    np.savez(path, x=x.astype(np.float32), y=y, test=np.arange(600) >= 400)
    return path


def compared(data: Path, out: Path, *flags: object) -> Finished:
    end = finished(compare.main, "--data", f"features:{data}", "--out", out, *QUICK, *flags)
    assert end.exit_code == 0, end.stderr
    return end


def rows_of(folder: Path, name: str = "comparison.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures_of(summary: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return the figures that a comparison has of a run's: all but the metrics of the field."""
    return [(name, value) for name, value in summary.items() if name != "metrics"]
