"""A small comparison over five seeds, and its numbers worked out anew in numpy and scipy."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Finished, finished
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student
from small_comparison import rows_of
from unequal_run import recorded, write_data

from fedtl import compare
from fedtl.comparison import standings

SEEDS, TESTED = 5, 160
STRATEGIES = ("fedavg", "fed3r", "fedncm", "ditto")
FLAGS = ("--partition", "natural", "--held-out", 0.7, "--engine", "inline", "--rounds", 4)
# So slow that no round is the first to be good.
FLAGS += ("--learning-rate", 0.0003, "--seeds", SEEDS, "--strategies", ",".join(STRATEGIES))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """A comparison's folder, what it printed, what it drew, and what its stars rest on."""

    folder: Path
    end: Finished
    drawn: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    p_behind_best: Floats

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
    test, found = standings.p_behind_best, []

    def noting(values: Floats, sizes: Floats) -> Floats:
        found.append(test(values, sizes))
        return found[-1]

    with recorded(*names) as drawn, pytest.MonkeyPatch.context() as patch:
        patch.setattr(standings, "p_behind_best", noting)
        data = f"features:{root / 'x.npz'}"
        end = finished(compare.main, "--data", data, *FLAGS, "--out", root / "out")
    assert end.exit_code == 0, end.stderr
    (p,) = found
    return Made(root / "out", end, drawn, p)


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


def p_of_best(rights: Sequence[Floats], draws: int) -> tuple[Floats, Floats]:
    """Return p-values of being as good as the best, by simulation, and their standard errors.

    Westfall and Young's single-step minP: strategies that are equal vary as these do, each with its
    seeds alone and all together with the rows, and the best of them is chosen anew in every draw.

    Args:
        rights: Which rows each strategy gets right, shape ``(seeds, rows)`` each.
        draws: How many.
    """
    seeds, rows = rights[0].shape
    rng, count = np.random.default_rng(1), len(rights)
    shared = np.array([[_shared(a - b) for b in rights] for a in rights])
    own = np.array([_shared(right) for right in rights])
    together = (own[:, None] + own - shared) / 2
    by_seed = np.array([right.mean(1) for right in rights])
    pairs = [(a, b) for a in range(count) for b in range(a)]
    # A difference has the seeds of both.
    noise = np.mean([(by_seed[a] - by_seed[b]).var(ddof=1) / 2 for a, b in pairs])
    values, vectors = np.linalg.eigh(together)
    root = vectors * np.sqrt(values.clip(0))
    apart = root @ root.T
    of_rows = rng.normal(size=(draws, count)) @ root.T
    of_seeds = rng.normal(0, np.sqrt(noise), (draws, count, seeds))
    chance = rng.chisquare(rows - 1, (draws, 1)) / (rows - 1)
    each = of_rows[:, :, None] + of_seeds
    chosen = each.mean(2).argmax(1)
    ahead = np.take_along_axis(each, chosen[:, None, None], 1) - each
    by_rows = (apart.diagonal()[:, None] + apart.diagonal() - 2 * apart).clip(0)[chosen] * chance
    by_seeds = ahead.var(2, ddof=1) / seeds
    least = _students(ahead.mean(2), by_seeds, by_rows, seeds, rows).min(1)
    means = by_seed.mean(1)
    best = int(means.argmax())
    found = _students(
        means[best] - means,
        (by_seed[best] - by_seed).var(1, ddof=1) / seeds,
        shared[best].clip(0),
        seeds,
        rows,
    )
    p = np.array([1.0 if one == 1 else (least <= one).mean() for one in found])
    return p, np.sqrt(p * (1 - p) / draws)


def _shared(right: Floats) -> float:
    """Return what rows that all seeds share add to the variance of a mean; it may be below 0."""
    seeds, rows = right.shape
    covariances = np.cov(right)
    return float((covariances.sum() - covariances.trace()) / (seeds * (seeds - 1)) / rows)


def _students(ahead: Floats, by_seeds: Floats, by_rows: Floats, seeds: int, rows: int) -> Floats:
    """Return two-sided p-values with Satterthwaite's degrees of freedom; 1 for no difference."""
    variance = by_seeds + by_rows + 1e-30
    freedom = variance**2 / (by_seeds**2 / (seeds - 1) + by_rows**2 / (rows - 1) + 1e-60)
    p: Floats = 2 * student.sf(ahead / np.sqrt(variance), freedom.clip(1))
    return np.where(ahead > 1e-12, p, 1.0)


def signed(difference: float) -> str:
    told = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if told[1:] == "0.0" else told


def ranking(made: Made) -> dict[str, Any]:
    summary = json.loads((made.folder / "summary.json").read_text())
    (point,) = summary["points"]
    content: dict[str, Any] = point["ranking"]
    return content


# --- what charts say ------------------------------------------------------------------------------


def dots_say(made: Made, order: Sequence[str]) -> list[str]:
    """Return what the chart of accuracies says of strategies, the last of them first."""
    rows = {row["strategy"]: row for row in ranking(made)["strategies"]}
    said = []
    for name in reversed(order):
        pooled = [pair[1] for seed in range(SEEDS) for pair in made.cell(name, seed)["trained"]]
        low, high = rows[name]["interval"].values()
        mean = made.right(name).mean(1).mean()
        said.append(
            f"{name}: {100 * mean:.1f}%, mean of {SEEDS} seeds; 95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f}; the same training on pooled data "
            + spread(np.array(pooled)).replace("±", "% ± ")
        )
    return said


def rounds_say(made: Made, order: Sequence[str]) -> list[str]:
    """Return what the chart of rounds says of each round."""
    curves = {name: made.rounds(name)[0] for name in order}
    return [
        f"round {at + 1}: "
        + ", ".join(
            f"{name} {spread(curve[:, at]).replace('±', '% ± ')}"
            for name, curve in curves.items()
            if at < curve.shape[1]
        )
        for at in range(max(curve.shape[1] for curve in curves.values()))
    ]


def bytes_say(made: Made, order: Sequence[str]) -> list[str]:
    """Return what the chart of bytes says of each strategy."""
    ends = {name: [each[:, -1].mean() for each in made.rounds(name)] for name in order}
    return [
        f"{name}: {100 * accuracy:.1f}% after {size / 1000:.1f} kB"
        for name, (accuracy, size) in ends.items()
    ]


def gains_say(made: Made, order: Sequence[str]) -> list[str]:
    """Return what the chart of gains says of strategies, the last of them first."""
    said = []
    for name in reversed(order):
        gains = made.gains(name)
        first, median, third = map(signed, np.quantile(gains, (0.25, 0.5, 0.75)))
        used = "personal" if name == "ditto" else "federated"
        cells = [made.cell(name, seed) for seed in range(SEEDS)]
        verdicts = [client["verdicts"][used] for cell in cells for client in cell["clients"]]
        said.append(
            f"{name}: median {median} points, the middle half from {first} to {third}; "
            f"{verdicts.count('better')} better off, {verdicts.count('worse')} worse, of "
            f"{len(gains)} clients over all seeds"
        )
    return said
