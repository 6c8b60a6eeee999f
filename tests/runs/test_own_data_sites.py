"""Sites with data of their own, as Flower's runtimes run them: what they tell of small counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from federation_of_sites import federate
from flwr.app import Message

from fedtl.client import own_site
from fedtl.config import RunConfig
from fedtl.federation.outcome import Outcome

SITES = 3
FEWEST = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites' features; the last has four examples of its rarest class, so holds out one."""
    root = tmp_path_factory.mktemp("own")
    draws = np.random.default_rng(0)
    for site in range(SITES):
        y = draws.integers(3 if site < 2 else 2, size=200)
        y[:4] = 2
        x = np.eye(3, 8)[y] + 0.7 * draws.normal(size=(200, 8))
        classes = np.array(["a", "b", "c"])
        np.savez(root / f"{site}.npz", x=x.astype(np.float32), y=y, classes=classes)
    return root


def _federate(folder: Path, cache: Path, strategy: str) -> tuple[Outcome, list[Message]]:
    """Return what came out, and the sites' last replies."""
    config = RunConfig(clients=SITES, rounds=2, strategy=strategy)
    outcome, _, told = federate(config, folder, cache)
    return outcome, told[-SITES:]


@pytest.mark.parametrize("strategy", ["fedavg", "fed3r", "ditto", "local"])
def test_no_small_count_leaves(folder: Path, tmp_path: Path, strategy: str) -> None:
    outcome, told = _federate(folder, tmp_path, strategy)
    assert len(told) == SITES
    for message in told:
        metrics = dict(message.content["metrics"])
        tables = ("correct", "confusion", "predicted", "score-bins", "rare-bins")
        named = [key for key in metrics if key.endswith(tables)]
        assert len(named) > 8
        for key in named:
            counts = np.asarray(metrics[key])
            assert not ((counts > 0) & (counts < FEWEST)).any(), key
        for key in metrics:
            if key.endswith("loss") and not np.isnan(metrics[key]):
                assert metrics[key] == round(metrics[key], 2)
    # Of the last site's rarest class nothing is told but that it is there.
    last = told[-1].content["metrics"]
    assert last["examples"][2] == 1
    assert last["correct"][2] == -1
    held_out = outcome.federated[SITES - 1].held_out
    assert held_out.correct.sum() == pytest.approx(held_out.right, abs=2 * (FEWEST - 1))


def test_what_a_run_concludes_is_that_of_all_counts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, _ = _federate(folder, tmp_path / "real", "fedavg")
    monkeypatch.setattr(own_site, "SMALLEST_CELL", 0)
    exact, _ = _federate(folder, tmp_path / "exact", "fedavg")
    for name, array in exact.arrays.items():
        np.testing.assert_array_equal(real.arrays[name], array)
    assert real.pairs == exact.pairs
    for client, tallies in exact.federated.items():
        assert real.federated[client].held_out.clusters == tallies.held_out.clusters
    assert exact.federated[SITES - 1].held_out.examples[2] == 1
