"""A run on a Ray cluster of two nodes: the same bytes as in one process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from in_process import finished
from ray.cluster_utils import Cluster

import fedtl.engine.cluster_extraction as cluster_extraction
from fedtl import simulate
from fedtl.engine.ray_internals import lean_head

CHOSEN = True


@pytest.fixture
def address(warm_worker: Path) -> Iterator[str]:
    with lean_head(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", str(warm_worker))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def test_a_cluster_of_two_nodes_gives_the_same_bytes(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_extraction, "_INPUTS_PER_TASK", 16)
    common = ["--clients=3", "--rounds=2", "--hospitals-images=120", "--hospitals-test-images=40"]
    summaries = []
    for name, engine in (
        ("inline", ["--engine=inline"]),
        ("cluster", [f"--ray-address={address}"]),
    ):
        out = tmp_path / name
        cache = tmp_path / f"cache-{name}"
        finished(simulate.main, *common, *engine, f"--out={out}", f"--cache={cache}", "--quiet")
        summaries.append(json.loads((out / "summary.json").read_text()))
    inline, on_cluster = summaries
    assert on_cluster["head_sha256"] == inline["head_sha256"]
    assert on_cluster["local_only"] == inline["local_only"]
