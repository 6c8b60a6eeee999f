"""``compare --tune``: the same budget for all, on data that is reported nowhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished

import strategies
from fedtl import compare
from fedtl.comparison.cell import MakeScene
from fedtl.comparison.tuning import validation_sites
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.engine.task_pool import InlinePool
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.transfer.shared_features import Spill
from strategies.base.search import ranges_of

TRIALS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 400)
    x = 30 * (rng.normal(0, 1, (400, 8)) + rng.normal(0, 0.5, (3, 8))[y])
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x.astype(np.float32), y=y, test=np.arange(400) >= 300)
    return path


def _tuned(data: Path, out: Path, *flags: object) -> dict[str, Any]:
    """Return what every search says, by the name of its file."""
    end = finished(
        compare.main,
        "--data",
        f"features:{data}",
        "--strategies",
        "fedavg,fedprox,fed3r,fedncm",
        "--tune",
        TRIALS,
        "--clients",
        3,
        "--rounds",
        2,
        "--partition",
        "size-linear",
        # Far too large and far too small: a search that looks must find better.
        "--learning-rate",
        1e-6,
        "--out",
        out,
        *flags,
    )
    assert end.exit_code == 0, end.stderr
    return {path.stem: json.loads(path.read_text()) for path in (out / "tuned").iterdir()}


@pytest.fixture(scope="module")
def searches(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("tuned") / "out"
    return out, _tuned(data, out, "--seeds", 2, "--engine", "inline")


def test_every_strategy_with_something_to_tune_has_the_same_budget(
    searches: tuple[Path, dict[str, Any]],
) -> None:
    _, found = searches
    tuned = ("fedavg", "fedprox", "fed3r")
    assert found.keys() == {f"seed={seed}_{name}" for seed in (0, 1) for name in tuned}
    for name, search in found.items():
        ranges = ranges_of(strategies.load(name.rpartition("_")[2]))
        assert len(search["trials"]) == TRIALS
        assert search["chosen"].keys() == ranges.keys()
        for trial in search["trials"][1:]:
            for key, within in ranges.items():
                assert within.low <= trial[key] <= within.high
    assert found["seed=0_fedprox"]["chosen"].keys() == {"learning-rate", "fedprox-mu"}


def test_the_best_trial_is_chosen_and_the_first_is_the_configuration(
    searches: tuple[Path, dict[str, Any]],
) -> None:
    for search in searches[1].values():
        best = max(search["trials"], key=lambda trial: trial["accuracy"])
        assert {key: best[key] for key in search["chosen"]} == search["chosen"]
    first = searches[1]["seed=0_fedavg"]["trials"][0]
    assert first["learning-rate"] == 1e-6
    assert searches[1]["seed=0_fedavg"]["chosen"]["learning-rate"] > 1e-3


def test_runs_of_every_seed_take_what_was_chosen_and_the_table_tells(
    searches: tuple[Path, dict[str, Any]],
) -> None:
    out, found = searches
    with (out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        name = f"seed={row['seed']}_{row['strategy']}"
        config = json.loads((out / "cells" / f"{name}.json").read_text())["config"]
        chosen = found.get(name, {"chosen": {}})["chosen"]
        for key, value in chosen.items():
            assert config[key] == value
            assert float(row[f"tuned:{key}"]) == value
        if row["strategy"] == "fedncm":
            assert config["learning-rate"] == 1e-6
    values = [found[f"seed={seed}_fedavg"]["chosen"]["learning-rate"] for seed in (0, 1)]
    said = f"learning-rate {values[0]:.3g} / {values[1]:.3g}"
    assert said in (out / "comparison.html").read_text()


@pytest.mark.usefixtures("shared_ray")
def test_a_search_does_not_depend_on_what_goes_beside_it(
    data: Path, searches: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """In two Ray actors, or after a search that had finished before an interruption."""
    out = tmp_path / "ray"
    first = {name: found for name, found in searches[1].items() if name.startswith("seed=0_")}
    assert _tuned(data, out, "--seeds", 1, "--engine", "ray") == first
    (out / "tuned" / "seed=0_fedprox.json").unlink()
    for cell in (out / "cells").iterdir():
        cell.unlink()
    plan = (out / "comparison.json").read_text()
    (out / "comparison.json").write_text(plan.replace('"engine": "ray"', '"engine": "inline"'))
    assert finished(compare.main, "--resume", out).exit_code == 0
    again = {path.stem: json.loads(path.read_text()) for path in (out / "tuned").iterdir()}
    assert again == first


@pytest.mark.parametrize("test_split", [True, False])
def test_no_search_sees_a_row_that_its_choice_is_scored_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test_split: bool
) -> None:
    sites: dict[str, SimulatedSites] = {}
    add_scene = InlinePool.add_scene

    def noted(pool: InlinePool, name: str, make: MakeScene) -> None:
        sites[name] = make.sites
        add_scene(pool, name, make)

    monkeypatch.setattr(InlinePool, "add_scene", noted)
    if not test_split:
        arrays = dict(np.load(data))
        data = tmp_path / "untested.npz"
        np.savez(data, x=arrays["x"], y=arrays["y"])
    shape = ("--clients", 3, "--rounds", 1, "--alpha", "0.3,3", "--test-fraction", 0.1)
    flags = ("--strategies", "fedavg", "--tune", 2, "--seeds", 3, "--engine", "inline")
    out = tmp_path / "out"
    end = finished(compare.main, "--data", f"features:{data}", *flags, *shape, "--out", out)
    assert end.exit_code == 0, end.stderr

    def rows(scene: str, *kinds: str) -> set[int]:
        parts = [part for kind in kinds for part in getattr(sites[scene], kind)]
        return {int(row) for part in parts for row in part}

    scenes = [name for name in sites if not name.startswith("tune_")]
    assert len(scenes) == 6
    for scene in scenes:
        assert (out / "tuned" / f"{scene}_fedavg.json").is_file()
        seen = rows(f"tune_{scene}", "train", "held_out")
        scored = rows(scene, "held_out") | set(sites[scene].test.tolist())
        assert seen == rows(scene, "train")
        assert not seen & scored
        assert len(sites[scene].test) == (100 if test_split else 40)
    # The test part is new to the searches of all seeds, and the same for all.
    everything = set.union(*(rows(f"tune_{scene}", "train", "held_out") for scene in scenes))
    for scene in scenes:
        assert not everything & set(sites[scene].test.tolist())
    # What one search for all would have seen: most of what other seeds hold out.
    first, other = "alpha=0.3_seed=0", "alpha=0.3_seed=1"
    seen = rows(f"tune_{first}", "train", "held_out")
    assert len(seen & rows(other, "held_out")) > 0.5 * len(rows(other, "held_out"))


def test_own_heads_are_what_a_search_of_theirs_looks_at(data: Path, tmp_path: Path) -> None:
    """Without federation there is no other head, and ditto's lambda touches its own alone."""
    flags = ("--strategies", "local,ditto", "--tune", 3, "--seeds", 1, "--engine", "inline")
    shape = ("--clients", 3, "--rounds", 2, "--partition", "size-linear", "--learning-rate", 1e-6)
    out = tmp_path / "out"
    end = finished(compare.main, "--data", f"features:{data}", *flags, *shape, "--out", out)
    assert end.exit_code == 0, end.stderr
    found = {
        name: json.loads((out / "tuned" / f"seed=0_{name}.json").read_text())
        for name in ("local", "ditto")
    }
    for search in found.values():
        # Heads that nobody trained would take everything for the first of three classes.
        assert max(trial["accuracy"] for trial in search["trials"]) > 0.6
    assert found["local"]["chosen"].keys() == {"learning-rate"}
    assert found["ditto"]["chosen"].keys() == {"learning-rate", "ditto-lambda"}


def test_trials_see_training_examples_alone() -> None:
    rng = np.random.default_rng(1)
    rows = np.split(rng.permutation(100), [30, 60, 70, 80, 90])
    spill = Spill()
    sites = SimulatedSites(
        features=spill.share(rng.normal(size=(100, 3)).astype(np.float32)),
        labels=rng.integers(0, 4, 100),
        train=rows[:2],
        held_out=rows[2:4],
        test=rows[4],
        unseen=rows[5],
        class_names=("a", "b", "c", "d"),
        fingerprint="f",
    )
    carved = validation_sites(sites, RunConfig(clients=2))
    assert len(carved.test) == len(carved.unseen) == 0
    for client in range(2):
        both = np.concatenate([carved.train[client], carved.held_out[client]])
        assert sorted(both) == sorted(sites.train[client])
        assert len(carved.held_out[client]) == round(0.25 * len(sites.train[client]))


@pytest.mark.parametrize("name", strategies.available())
def test_what_a_search_may_try_is_a_valid_configuration(name: str) -> None:
    for key, within in ranges_of(strategies.load(name)).items():
        for value in (within.low, within.high):
            from_mapping({key: value}, where="the test")
        assert within.low > 0 or not within.log
