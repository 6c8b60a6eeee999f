"""Comparisons of other kinds: no test part, attacks, failures, own heads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished
from small_comparison import compared, figures_of, overlapping, rows_of

from fedtl import simulate
from fedtl.client import alone
from fedtl.config import RunConfig
from strategies.base import Arrays, Reply
from strategies.fedavg import FedAvg


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlapping(tmp_path_factory.mktemp("data"))


def test_reference_heads_are_found_once_for_all_strategies(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    original = alone.lone_heads

    def counted(config: RunConfig, clients: Any, leave_out: bool) -> Any:
        found.append(len(clients))
        return original(config, clients, leave_out)

    monkeypatch.setattr(alone, "lone_heads", counted)
    compared(data, tmp_path / "out", "--strategies", "fedavg,fed3r,fedncm", "--seeds", 1)
    # The four clients once, and once all data in one place.
    assert sorted(found) == [1, 4]


def test_without_a_test_part_global_heads_are_ranked_on_held_out_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 300)
    x = rng.normal(0, 1, (300, 8)) + rng.normal(0, 0.8, (3, 8))[y]
    np.savez(tmp_path / "features.npz", x=x.astype(np.float32), y=y)
    out = tmp_path / "out"
    flags = ("--strategies", "fed3r,fedncm", "--seeds", 3, "--test-fraction", 0)
    compared(tmp_path / "features.npz", out, *flags)
    (at,) = json.loads((out / "summary.json").read_text())["points"]
    assert at["ranking"]["measured_on"] == "all clients' held-out rows"
    for told in at["ranking"]["strategies"]:
        mean = np.mean(
            [
                float(row["federated_accuracy"])
                for row in rows_of(out)
                if row["strategy"] == told["strategy"]
            ]
        )
        assert told["accuracy"]["mean"] == pytest.approx(mean)
        assert told["interval"]["low"] < mean < told["interval"]["high"]


class Failing(FedAvg):
    """Raises where it aggregates."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        raise ZeroDivisionError("no such luck")


def test_a_run_that_fails_costs_itself_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    end = compared(data, out, "--strategies", "fed3r,test_compare_cases:Failing", "--seeds", 1)
    assert "ZeroDivisionError: no such luck" in end.stdout
    assert [row["strategy"] for row in rows_of(out)] == ["fed3r"]
    assert "no such luck" in (out / "comparison.html").read_text(encoding="utf-8")
    failed = json.loads((out / "summary.json").read_text())["failed"]
    assert [entry["strategy"] for entry in failed] == ["test_compare_cases:Failing"]
    assert not list((out / "cells").glob("*Failing*"))


@pytest.mark.usefixtures("plotted")
def test_own_heads_count_where_a_strategy_has_them(data: Path, tmp_path: Path) -> None:
    """Ditto's global head is FedAvg's; who goes alone gains nothing and loses nothing."""
    out = tmp_path / "out"
    flags = ("--strategies", "fedavg,ditto,local,fed3r", "--seeds", 1, "--alpha", 0.2)
    compared(data, out, *flags, "--init", "fed3r", "--personalise", 1)
    rows = {row["strategy"]: row for row in rows_of(out)}
    shared = "new_data_federated_accuracy"
    assert rows["ditto"][shared] == rows["fedavg"][shared]
    cell = out / "cells" / "seed=0_ditto.toml"
    end = finished(simulate.main, "--config", cell, "--out", tmp_path / "run", "--json")
    simulated = json.loads(end.stdout)
    for score, value in figures_of(simulated["personal"]):
        assert value is None or float(rows["ditto"][f"personal_{score}"]) == value
    assert int(rows["ditto"]["harmed_clients"]) == len(simulated["harmed_clients"])
    assert rows["local"]["global_head"] == "False"
    assert rows["local"]["rounds_to_target"] == ""
    last = {row["strategy"]: row["accuracy"] for row in rows_of(out, "rounds.csv")}
    assert last == {name: row[shared] if name != "local" else "" for name, row in rows.items()}
    (at,) = json.loads((out / "summary.json").read_text())["points"]
    assert {row["strategy"] for row in at["ranking"]["strategies"]} == {"fedavg", "ditto", "fed3r"}
    own = {row["strategy"]: row for row in at["own_data"]["strategies"]}
    assert set(own["local"]) == {"strategy", "personal"}
    for name, readings in own.items():
        for way in set(readings) - {"strategy"}:
            column = "federated" if name == "local" else way
            told = float(rows[name][f"{column}_accuracy"])
            assert readings[way]["accuracy"]["mean"] == told
            assert readings[way]["worse"]["mean"] == int(rows[name][f"{column}_worse"])
    for name, init, personalise in (
        ("fedavg", "fed3r", 1),
        ("ditto", "fed3r", 0),
        ("fed3r", "none", 1),
    ):
        config = json.loads((out / "cells" / f"seed=0_{name}.json").read_text())["config"]
        assert (config["init"], config["personalise"]) == (init, personalise)
