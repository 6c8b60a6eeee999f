"""The centralised reference that is found beside a federation, and its shuffles in one stack."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import strategies
from fedtl.client.alone import train_alone
from fedtl.config import RunConfig
from fedtl.determinism import derived_seed
from fedtl.runs import pooled_beside
from fedtl.runs.pooled_beside import PooledBeside
from fedtl.runs.reference import centralised_reference, trained_of_all
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import head_of, one_thread
from strategies.base import HeadStrategy

CHOSEN = True

ROWS, WIDTH, CLASSES = 120, 7, 3


def _clients() -> list[ClientData]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS)
    x = rng.normal(size=(CLASSES, WIDTH))[labels] + rng.normal(size=(ROWS, WIDTH))
    features = torch.from_numpy(x.astype(np.float32))
    parts = np.split(rng.permutation(ROWS), [30, 75, 90, 105])
    nobody = np.empty(0, np.int64)
    return [
        ClientData(
            partition_id=client,
            features=features,
            labels=torch.from_numpy(labels),
            train=np.sort(parts[client]),
            held_out=np.sort(parts[2 + client]),
            test=np.sort(parts[4]),
            unseen=nobody,
            classes=CLASSES,
        )
        for client in range(2)
    ]


def _strategy(**changes: str | int) -> HeadStrategy:
    config = RunConfig(clients=2, rounds=3).replace(**changes).settled().in_simulation()
    return strategies.build(config, head_of(config, features=WIDTH, classes=CLASSES))


@pytest.mark.parametrize("changes", [{}, {"head_init": "seeded"}, {"head": "mlp"}])
def test_shuffles_of_one_stack_are_those_of_runs_of_other_seeds(changes: dict[str, str]) -> None:
    clients = _clients()
    strategy = _strategy(**changes)
    together = trained_of_all(strategy, clients, train_alone)
    rows = np.sort(np.concatenate([client.train for client in clients]))
    block = ClientBlock.unstandardised(clients[0].features, clients[0].labels, [rows], [2], CLASSES)
    seeds = [strategy.config.seed]
    seeds += [derived_seed(strategy.config.seed, "pooled-shuffle", at) >> 1 for at in (1, 2)]
    for seed, found in zip(seeds, together, strict=True):
        with one_thread(), torch.inference_mode():
            (alone,) = _strategy(**changes, seed=seed).train_alone(block)
        for name, array in alone.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)
    first, second, _ = (next(iter(head.arrays.values())) for head in together)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["fedavg", "fed3r", "fedcgs"])
def test_what_is_found_beside_a_federation_is_what_is_found_after_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, strategy = _clients(), _strategy(strategy=name)
    after = centralised_reference(strategy, clients)
    threads = torch.get_num_threads()
    for most in (pooled_beside._BYTES, 0):
        monkeypatch.setattr(pooled_beside, "_BYTES", most)
        beside = PooledBeside(strategy.config, clients)
        assert (beside._found is None) == (most == 0)
        found = beside.reference(strategy)
        assert (found.method, found.trained) == (after.method, after.trained)
        for client, tallies in after.tallies.items():
            assert found.tallies[client].held_out.accuracy == tallies.held_out.accuracy
    assert torch.get_num_threads() == threads
