"""A small comparison over five seeds, and its numbers worked out anew in numpy and scipy."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from in_process import Finished, finished
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student
from small_comparison import rows_of
from unequal_run import recorded, write_data

from fedtl import compare

SEEDS, TESTED = 5, 160
STRATEGIES = ("fedavg", "fed3r", "fedncm", "ditto")
FLAGS = ("--partition", "natural", "--held-out", 0.7, "--engine", "inline", "--rounds", 4)
# So slow that no round is the first to be good.
FLAGS += ("--learning-rate", 0.0003, "--seeds", SEEDS, "--strategies", ",".join(STRATEGIES))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """A comparison's folder, what it printed, and what it drew."""

    folder: Path
    end: Finished
    drawn: list[tuple[str, tuple[Any, ...], dict[str, Any]]]

    @property
    def page(self) -> str:
        return (self.folder / "comparison.html").read_text(encoding="utf-8")

    def figures(self, strategy: str, column: str) -> Floats:
        """Return a column of comparison.csv by seed."""
        rows = [row for row in rows_of(self.folder) if row["strategy"] == strategy]
        rows.sort(key=lambda row: int(row["seed"]))
        return np.array([float(row[column] or "nan") for row in rows])

    def rounds(self, strategy: str) -> tuple[Floats, Floats]:
        """Return accuracies and bytes, shape (seeds, rounds)."""
        rows = [row for row in rows_of(self.folder, "rounds.csv") if row["strategy"] == strategy]
        by_seed = [[row for row in rows if row["seed"] == str(seed)] for seed in range(SEEDS)]
        return (
            np.array([[float(row["accuracy"]) for row in one] for one in by_seed]),
            np.array([[float(row["bytes"]) for row in one] for one in by_seed]),
        )

    def cell(self, strategy: str, seed: int) -> dict[str, Any]:
        path = self.folder / "cells" / f"seed={seed}_{strategy}.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def right(self, strategy: str) -> Floats:
        """Return which test rows each seed's head gets right, shape (seeds, rows)."""
        found = []
        for seed in range(SEEDS):
            marks = self.cell(strategy, seed)["marks"]
            bits = np.frombuffer(base64.b64decode(marks["bits"]), np.uint8)
            steps = np.frombuffer(zlib.decompress(base64.b64decode(marks["numbers"])), "<i8")
            assert len(set(np.cumsum(steps).tolist())) == TESTED, "rows stand for themselves"
            found.append(np.unpackbits(bits)[:TESTED])
        return np.array(found, np.float64)

    def gains(self, strategy: str, way: str = "") -> list[float]:
        """Return every client's and seed's gain from the head that it would use."""
        told = []
        for seed in range(SEEDS):
            for client in self.cell(strategy, seed)["clients"]:
                own = client["accuracies"]
                used = way or ("personal" if "personal" in own else "federated")
                told.append(own[used] - own["local_only"])
        return told


def compared_in(root: Path) -> Made:
    """Compare in a folder, and note what is drawn."""
    write_data(root / "x.npz")
    names = ("plot", "fill_between", "axvline", "axhline", "scatter", "set_yticks")
    with recorded(*names) as drawn:
        data = f"features:{root / 'x.npz'}"
        end = finished(compare.main, "--data", data, *FLAGS, "--out", root / "out")
    assert end.exit_code == 0, end.stderr
    return Made(root / "out", end, drawn)


def spread(values: Floats) -> str:
    return f"{100 * values.mean():.1f}±{100 * values.std(ddof=1):.1f}"


def two_way(right: Floats) -> tuple[float, float, float]:
    """Return a mean over seeds and rows, and what seeds and rows add to its variance.

    Analysis of variance with both factors random, by its sums of squares.
    """
    seeds, rows = right.shape
    mean, by_seed, by_row = right.mean(), right.mean(1), right.mean(0)
    rest = right - by_seed[:, None] - by_row[None] + mean
    of_rest = np.square(rest).sum() / ((seeds - 1) * (rows - 1))
    of_rows = seeds * np.square(by_row - mean).sum() / (rows - 1)
    shared = max(0.0, (of_rows - of_rest) / seeds) / rows
    return float(mean), float(by_seed.var(ddof=1) / seeds), float(shared)


def half_width(right: Floats, alpha: float = 0.05) -> float:
    _, of_seeds, of_rows = two_way(right)
    seeds, rows = right.shape
    by_seeds = student.ppf(1 - alpha / 2, seeds - 1) ** 2 * of_seeds
    by_rows = student.ppf(1 - alpha / 2, rows - 1) ** 2 * of_rows
    return float(np.sqrt(by_seeds + by_rows))


def p_value(difference: Floats) -> float:
    mean = abs(difference.mean())
    if half_width(difference, 1e-12) < mean:
        return 1e-12
    if not mean:
        return 1.0
    found: float = brentq(lambda alpha: half_width(difference, alpha) - mean, 1e-12, 1.0)
    return found


def corrected(p_values: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Return Holm's."""
    found, largest = {}, 0.0
    for rank, pair in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[pair] * (len(p_values) - rank)))
        found[pair] = largest
    return found


def signed(difference: float) -> str:
    told = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if told[1:] == "0.0" else told


def ranking(made: Made) -> dict[str, Any]:
    summary = json.loads((made.folder / "summary.json").read_text())
    (point,) = summary["points"]
    content: dict[str, Any] = point["ranking"]
    return content
