"""Predictions of a head whose classes are in no order of the alphabet."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import finished

from fedtl import predict, simulate
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.preparation.opened_data import open_data
from fedtl.transfer.head_file import read_head

UNSORTED = ("wasp", "ant", "moth", "bee")


def _write(path: Path, seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, rows)
    x = np.random.default_rng(0).normal(size=(4, 6))[y] + rng.normal(size=(rows, 6))
    np.savez(path, x=x.astype(np.float32), y=np.array(sorted(UNSORTED))[y])


def test_names_go_with_the_heads_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As data sets with a list of names have them; against the same run with sorted ones."""
    _write(tmp_path / "train.npz", 1, 120)
    _write(tmp_path / "new.npz", 2, 50)

    def unsorted(config: RunConfig) -> Dataset:
        data = open_data(config)
        places = np.array([UNSORTED.index(name) for name in data.classes])
        return replace(data, classes=UNSORTED, labels=places[data.labels])

    told = []
    for name, opened in (("sorted", open_data), ("unsorted", unsorted)):
        monkeypatch.setattr("fedtl.runs.simulated_clients.open_data", opened)
        flags = ["--strategy", "fed3r", "--partition", "iid", "--clients", 3, "--engine", "inline"]
        data = f"features:{tmp_path / 'train.npz'}"
        run = tmp_path / name
        end = finished(simulate.main, "--quiet", "--data", data, *flags, "--out", run)
        assert end.exit_code == 0, end.stderr
        new = f"features:{tmp_path / 'new.npz'}"
        table = tmp_path / f"{name}.csv"
        assert finished(predict.main, run, new, "--csv", table).exit_code == 0
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        head = read_head(run / "head.safetensors")
        logits = np.load(tmp_path / "new.npz")["x"] @ head.arrays["weight"].T + head.arrays["bias"]
        expected = [head.classes[at] for at in logits.argmax(1).tolist()]
        assert [row["predicted"] for row in rows] == expected
        scored = finished(predict.main, run, new, "--score", "--json")
        assert scored.exit_code == 0, scored.stderr
        told.append((head.classes, expected, json.loads(scored.stdout)["accuracy"]))
    (classes, one, right), (order, other, also) = told
    assert (classes, order) == (tuple(sorted(UNSORTED)), UNSORTED)
    # Who holds which rows depends on the numbers of classes, so that heads differ a little.
    assert np.mean(np.array(one) == np.array(other)) > 0.9
    assert abs(right - also) < 0.1 and right > 0.6
