"""What must hold of every strategy whatever its rule: order does not count, one client is all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from iterative_reference import FEATURES, SIZES, block_of, built, config, stacked

from fedtl.transfer.standardisation import Moments, Standardisation
from strategies import available, load
from strategies.base import Arrays, ClosedFormStrategy, IterativeStrategy, Received, Reply
from strategies.base.robust import RobustStrategy

TRAINED = [
    name
    for name in available()
    if issubclass(load(name), IterativeStrategy)
    # fedper needs a head of two layers, local sends nothing.
    and name not in ("fedper", "local")
]
CLOSED = [
    name
    for name in available()
    if issubclass(load(name), ClosedFormStrategy) and not load(name).own_start
]
ALIKE_FOR_ONE = ["fedavg", "fedprox", "fednova", "qfedavg", "fedavgm", "scaffold", "ditto", "apfl"]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TRAINED + CLOSED), st.permutations(range(len(SIZES))))
def test_the_order_of_clients_changes_nothing(name: str, order: list[int]) -> None:
    """But for rounding; the engine hands replies over in one order, so that bytes agree as well."""
    head, found = _first_head(name), []
    for clients in (list(range(len(SIZES))), order):
        strategy = built(config(name, byzantine=0.0))
        received = Received(
            stacked(head, len(SIZES)),
            server=stacked(strategy.to_clients(), len(SIZES)),
            memory=strategy.initial_memory(stacked(head, len(SIZES))),
        )
        trained = strategy.client_train(block_of(), received, 1)
        replies = [Reply(SIZES[client], trained[client].arrays) for client in clients]
        found.append(strategy.aggregate(1, head, iter(replies)))
    assert found[0] is not None
    assert found[1] is not None
    for key, value in found[0].items():
        np.testing.assert_allclose(found[1][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALIKE_FOR_ONE)
def test_one_client_of_all_data_gets_the_centralised_head(name: str) -> None:
    """With whole batches, so that no shuffle tells the two apart."""
    whole = {"batch_size": 64, "clients": 1, "rounds": 4, "server_momentum": 0.0, "momentum": 0.5}
    no_pull: dict[str, Any] = {"fedprox_mu": 0.0, "qfedavg_q": 0.0}
    strategy = built(config(name, **whole, **no_pull))
    block = block_of((40,))
    told = Standardisation.from_moments(Moments.of(block.features, block.rows[0]))
    head: Arrays = _first_head(name)
    memory = strategy.initial_memory(stacked(head, 1))
    for server_round in range(1, 5):
        received = Received(stacked(head, 1), stacked(strategy.to_clients(), 1), memory)
        (trained,) = strategy.client_train(block.standardised([told]), received, server_round)
        memory = {key: torch.from_numpy(value[None]) for key, value in trained.memory.items()}
        aggregated = strategy.aggregate(server_round, head, iter([Reply(40, trained.arrays)]))
        assert aggregated is not None
        head = aggregated
    (central,) = strategy.train_alone(block)
    np.testing.assert_array_equal(central.standardisation.mean, told.mean)
    for key, value in central.arrays.items():
        np.testing.assert_allclose(head[key], value, rtol=1e-4, atol=1e-5)
    assert np.abs(head["weight"]).max() > 0.05


@pytest.mark.parametrize("name", CLOSED)
def test_one_client_of_all_data_gets_the_centralised_closed_form(name: str) -> None:
    strategy = built(config(name, clients=1))
    block = block_of((40,))
    (trained,) = strategy.client_train(block, Received(stacked(_first_head(name), 1)), 1)
    head = strategy.aggregate(1, _first_head(name), iter([Reply(40, trained.arrays)]))
    assert head is not None
    (central,) = strategy.train_alone(block)
    x = block.features.double().numpy()
    assert x.shape == (40, FEATURES)
    np.testing.assert_allclose(
        x @ head["weight"].T + head["bias"],
        x @ central.arrays["weight"].T + central.arrays["bias"],
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "name", [name for name in TRAINED if issubclass(load(name), RobustStrategy)]
)
def test_clients_that_agree_are_followed_by_every_robust_rule(name: str) -> None:
    strategy = built(config(name, clients=9, byzantine=0.2))
    head = {key: value + 0.25 for key, value in _first_head("fedavg").items()}
    replies = [Reply(5, {key: value.copy() for key, value in head.items()}) for _ in range(9)]
    found = strategy.aggregate(1, _first_head("fedavg"), iter(replies))
    assert found is not None
    for key, value in head.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6)


def _first_head(name: str) -> Arrays:
    """Return the head that training starts from: zeros."""
    return dict(built(config(name)).head.initial("auto", 0))
