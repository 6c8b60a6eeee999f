"""Rendered hospitals as clients, which is what a run is about if nothing else is asked for."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished

from fedtl import compare, simulate
from fedtl.config import RunConfig
from fedtl.data.hospitals.names import hospital_names
from fedtl.preparation.opened_data import open_data

SMALL = ("--hospitals-images", 400, "--hospitals-test-images", 40, "--hospitals-size", 16)
RUNS = {
    "simulate": (simulate.main, ("--strategy", "fedncm")),
    "compare": (compare.main, ("--strategies", "fedncm,local", "--seeds", 1)),
}
QUICK = ("--engine", "inline", "--rounds", 1, "--quiet")


def test_every_client_is_a_named_hospital_with_cases_of_its_own(tmp_path: Path) -> None:
    end = finished(simulate.main, *SMALL, *QUICK, "--clients", 4, "--out", tmp_path / "run")
    assert (end.exit_code, end.stderr) == (0, "")
    parts = json.loads((tmp_path / "run" / "partition.json").read_text())["clients"]
    assert [part["name"] for part in parts] == ["Alder", "Birch", "Cedar", "Dogwood"]
    data = open_data(RunConfig(hospitals_images=400, hospitals_test_images=40, clients=4))
    assert data.sites is not None
    mixes = []
    for part in parts:
        rows = np.array(part["train"] + part["held-out"])
        assert set(data.sites[rows]) == {part["name"]}
        mixes.append(np.bincount(data.labels[rows], minlength=8) / len(rows))
    # As different as the classes of one hospital are by chance would be .1 in the mean.
    distance = [abs(a - b).sum() / 2 for a in mixes for b in mixes if a is not b]
    assert np.mean(distance) > 0.25


@pytest.mark.parametrize(
    ("asked", "method", "sites"),
    [
        ({}, "natural", 10),
        ({"clients": 3}, "natural", 3),
        ({"alpha": 0.1}, "dirichlet", 5),
        ({"hospitals_sites": 4}, "dirichlet", 4),
        ({"partition": "iid"}, "iid", 5),
        ({"partition": "natural"}, "natural", 5),
        ({"clients": 300}, "dirichlet", 5),
        ({"data": "features:x.npz"}, "dirichlet", 0),
        ({"data": "features:x.npz", "partition": "natural"}, "natural", 0),
    ],
)
def test_what_auto_stands_for(asked: dict[str, Any], method: str, sites: int) -> None:
    settled = RunConfig(**asked).settled()
    assert (settled.partition, settled.option("hospitals-sites")) == (method, sites)
    assert settled.settled() == settled


def test_a_case_mix_that_is_asked_for_stays() -> None:
    mixed = RunConfig(hospitals_prevalence=0.5).settled()
    assert mixed.option("hospitals-prevalence") == 0.5
    assert RunConfig(alpha=0.1).settled().option("hospitals-prevalence") == 1.0


@pytest.mark.parametrize("way", ["flag", "file"])
@pytest.mark.parametrize("command", RUNS)
def test_a_default_that_is_given_is_asked_for(tmp_path: Path, command: str, way: str) -> None:
    """An alpha asks for shares of a pool, and a case mix stays, if they are the defaults' too."""

    def effective(key: str, value: float) -> dict[str, Any]:
        out, toml = tmp_path / key, tmp_path / "run.toml"
        toml.write_text(f"{key} = {value}\n")
        chosen: tuple[object, ...] = (f"--{key}", value)
        if way == "file":
            chosen = (toml,) if command == "compare" else ("--config", toml)
        runs = RUNS[command]
        end = finished(runs[0], *chosen, *runs[1], *SMALL, *QUICK, "--clients", 3, "--out", out)
        assert end.exit_code == 0, end.stderr
        return tomllib.loads(next(out.glob("**/*.toml")).read_text())

    pooled = effective("alpha", 0.3)
    assert (pooled["partition"], pooled["hospitals-sites"]) == ("dirichlet", 5)
    mixed = effective("hospitals-prevalence", 1.0)
    assert (mixed["partition"], mixed["hospitals-prevalence"]) == ("natural", 1.0)


def test_alphas_are_compared_on_shares_of_one_pool(tmp_path: Path) -> None:
    flags = ("--strategies", "fedncm,local", "--seeds", 1, "--clients", 3, "--alpha", "0.1,0.3")
    end = finished(compare.main, *SMALL, *QUICK, *flags, "--out", tmp_path / "out")
    assert end.exit_code == 0, end.stderr
    cells = [path.read_text() for path in (tmp_path / "out" / "cells").glob("*.toml")]
    assert len(cells) == 4
    assert all('partition = "dirichlet"' in cell for cell in cells)


def test_hospitals_keep_their_names_whatever_their_number() -> None:
    assert hospital_names(60)[:5] == hospital_names(5)
    assert len(set(hospital_names(200))) == 200
    assert hospital_names(27)[24:] == ("Zelkova", "Alder-2", "Birch-2")
