"""One cell of a comparison, over clients that it shares with others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_comparison import overlapping

from fedtl.comparison.cell import MakeScene, RunCell, Scene
from fedtl.comparison.marks import accuracy_of
from fedtl.config import RunConfig
from fedtl.fault import Fault
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.splitting import simulated_sites, split_into_clients


def untold(where: str, fault: Fault) -> None:
    raise AssertionError(f"{where}: {fault.sentence}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlapping(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sites(data: Path) -> Iterator[SimulatedSites]:
    """Yield three clients of the data, whose features live as long."""
    config = RunConfig(data=f"features:{data}", clients=3, rounds=2, partition="iid")
    inputs = prepare_inputs(config, open_data(config), None)
    yield simulated_sites(inputs, split_into_clients(config, inputs.dataset))


def test_marks_are_counted_by_whole_groups(sites: SimulatedSites) -> None:
    groups = np.arange(600) // 8
    result = RunCell(RunConfig(strategy="fed3r"))(
        MakeScene(replace(sites, groups=groups))(), untold
    )
    assert result.marks is not None
    assert (result.marks.units == groups[sites.test]).all()
    estimate = accuracy_of({0: result.marks})
    assert estimate is not None
    assert (
        estimate.units
        == len(np.unique(groups[sites.test]))
        == result.new_data["federated"]["groups"]
    )
    assert estimate.mean == pytest.approx(result.new_data["federated"]["accuracy"])


def test_a_cell_leaves_its_scene_as_it_was(sites: SimulatedSites) -> None:
    """One cell's scores do not depend on which ran before it over the same clients."""
    config = RunConfig(clients=3, rounds=2)
    shared: Scene = MakeScene(sites)()
    for strategy in ("scaffold", "fedncm", "fedavg", "feddyn"):
        work = RunCell(config.replace(strategy=strategy))
        lone, among = work(MakeScene(sites)(), untold), work(shared, untold)
        assert lone.head_sha256 == among.head_sha256
        assert lone.own_data == among.own_data
        assert lone.marks == among.marks
        assert lone.clients == among.clients
