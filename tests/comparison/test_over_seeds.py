"""``simulate --seeds``: each seed's scores are those of a run of its own; Student's intervals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished
from scipy.stats import ttest_1samp

from fedtl import simulate
from fedtl.results.over_seeds import SeedScores, over_seeds


def _run(data: Path, out: Path, *flags: object) -> dict[str, Any]:
    common = ("--data", f"features:{data}", "--clients", 4, "--rounds", 3, "--engine", "inline")
    end = finished(simulate.main, *common, "--quiet", "--out", out, *flags)
    assert end.exit_code == 0, end.stderr
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def test_further_seeds_are_runs_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(400, 8))).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y, test=np.arange(400) % 5 == 0)
    whole = _run(tmp_path / "data.npz", tmp_path / "three", "--seeds", 3)
    with (tmp_path / "three" / "seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        out = tmp_path / f"seed{row['seed']}"
        alone = _run(tmp_path / "data.npz", out, "--seed", row["seed"], "--data-seed", 0)
        for way in ("federated", "corrected", "local_only", "centralised"):
            assert float(row[f"{way}_accuracy"]) == alone[way]["accuracy"]
        new = alone["on_new_data"]["federated"]["accuracy"]
        assert float(row["new_data_federated_accuracy"]) == new
    told = whole["over_seeds"]["own_data"]["federated"]
    values = [float(row["federated_accuracy"]) for row in rows]
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (told["mean"], told["low"], told["high"]) == pytest.approx(
        (np.mean(values), theirs.low, theirs.high)
    )
    gains = [float(row["federated_accuracy"]) - float(row["local_only_accuracy"]) for row in rows]
    assert whole["over_seeds"]["gains"]["federated"]["mean"] == pytest.approx(np.mean(gains))


def test_no_interval_leaves_what_can_be() -> None:
    def of(seed: int, alone: float, ours: float) -> SeedScores:
        own = {"local_only": {"accuracy": alone}, "federated": {"accuracy": ours}}
        return SeedScores(seed, own, {})

    told = over_seeds([of(0, 0.02, 0.99), of(1, 0.08, 0.9), of(2, 0.01, 1.0)])
    assert told["own_data"]["local_only"]["low"] == 0
    assert told["own_data"]["federated"]["high"] == 1
    gain = told["gains"]["federated"]
    assert gain["high"] == 1 and gain["low"] > 0
