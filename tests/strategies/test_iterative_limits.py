"""What must come out of iterative strategies whatever the numbers: identities and limits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from iterative_reference import (
    CLASSES,
    FEATURES,
    MOMENTUM,
    PART,
    SIZES,
    Sites,
    Vector,
    batches,
    block_of,
    built,
    carried,
    config,
    counted,
    local_sgd,
    loss_and_gradient,
    run,
    vector,
)
from scipy.optimize import minimize

from strategies.base import Arrays, Reply


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("fedprox", {"fedprox_mu": 0.0}),
        ("fedavgm", {"server_momentum": 0.0}),
    ],
)
def test_without_its_own_term_it_is_fedavg(strategy: str, changes: dict[str, Any]) -> None:
    expected = run(config("fedavg", **MOMENTUM))
    for found, average in zip(run(config(strategy, **changes, **MOMENTUM)), expected, strict=True):
        np.testing.assert_allclose(found, average, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fednova_of_equal_steps_is_fedavg(momentum: float) -> None:
    """Clients of equal size take as many steps."""
    heads = []
    for name in ("fedavg", "fednova"):
        strategy = built(config(name, momentum=momentum))
        sites = Sites(strategy, block_of((16, 16, 16)))
        heads.append(sites.round(1, dict(strategy.head.initial("seeded", 0)), range(3)))
    np.testing.assert_allclose(vector(heads[0]), vector(heads[1]), rtol=1e-5, atol=1e-6)


def test_scaffold_with_one_client_is_sgd() -> None:
    """Server and client then agree on the control variate, which corrects nothing."""
    settings = config("scaffold", clients=1)
    strategy = built(settings)
    sites = Sites(strategy, block_of().select(np.array([0])))
    head: Arrays = dict(strategy.head.initial("seeded", 0))
    w = vector(head)
    for server_round in range(1, 5):
        head = sites.round(server_round, head, [0])
        w, _ = local_sgd(settings, w, 0, server_round)
        np.testing.assert_allclose(vector(head), w, rtol=1e-4, atol=1e-5)
    assert any(np.abs(value).max() > 1e-3 for value in strategy.to_clients().values())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scaffolds_variate_is_the_weighted_mean_gradient(momentum: float) -> None:
    """In the first round nothing is corrected, so that w - wₖ is plain SGD's."""
    settings = config("scaffold", momentum=momentum, learning_rate=0.02)
    strategy = built(settings)
    sites = Sites(strategy, block_of())
    head: Arrays = dict(strategy.head.initial("seeded", 0))
    sites.round(1, head, range(len(SIZES)))
    for client in range(len(SIZES)):
        met: list[Vector] = []
        local_sgd(settings, vector(head), client, 1, lambda _, g, met=met: met.append(g) or g)  # type: ignore[misc,func-returns-value]
        expected = np.average(met, axis=0, weights=carried(momentum, len(met)))
        np.testing.assert_allclose(vector(sites.memories[client]), expected, atol=1e-6)
        if momentum:
            literal = sum(w * g for w, g in zip(carried(momentum, len(met)), met, strict=True))
            assert np.abs(literal / len(met) - expected).max() > 0.1


def pooled_optimum(weight_decay: float, weights: Sequence[float]) -> Vector:
    """Return the minimum of the clients' weighted mean objective, by scipy."""
    block = block_of()

    def objective(theta: Vector) -> tuple[float, Vector]:
        value, slope = weight_decay / 2 * float(theta @ theta), weight_decay * theta
        for rows, share in zip(block.rows, weights, strict=True):
            index = torch.from_numpy(rows)
            x, y = block.features[index].double().numpy(), block.labels[index].numpy()
            loss, gradient = loss_and_gradient(theta, x, y)
            value, slope = value + share * loss, slope + share * gradient
        return value, slope

    start = np.zeros(CLASSES * (FEATURES + 1))
    best: Vector = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return best


TO_THE_LIMIT: dict[str, Any] = {
    "momentum": 0.9,
    "learning_rate": 0.05,
    "batch_size": 64,
    "local_epochs": 6,
    # What shifts all classes alike fades by this alone, slower than all else: 50 rounds end ten
    # times nearer than is asked for.
    "weight_decay": 0.2,
}
UNTIL_THE_LIMIT = range(1, 51)
EVERYONE = dict.fromkeys(UNTIL_THE_LIMIT, tuple(range(len(SIZES))))


@pytest.fixture(scope="module")
def limit_of_fedavg() -> Vector:
    return run(config("fedavg", **TO_THE_LIMIT), EVERYONE)[-1]


@pytest.mark.parametrize(
    ("name", "weights", "absent"),
    [
        ("scaffold", "examples", False),
        ("scaffold", "clients", True),
        ("feddyn", "clients", False),
        ("feddyn", "examples", True),
    ],
)
def test_the_limit_is_the_optimum_of_the_pooled_data(
    name: str, weights: str, absent: bool, limit_of_fedavg: Vector
) -> None:
    """With whole batches, unequal clients, momentum and weight decay; also if some are absent."""
    settings = config(name, feddyn_alpha=0.5, **{f"{name}_weights": weights}, **TO_THE_LIMIT)
    rng = np.random.default_rng(0)
    some = {
        t: tuple(np.sort(rng.choice(len(SIZES), 3, replace=False)).tolist())
        for t in UNTIL_THE_LIMIT
    }
    found = run(settings, some if absent else EVERYONE)[-1]
    counts = [counted(weights, k) for k in range(len(SIZES))]
    shares = [count / sum(counts) for count in counts]
    expected = pooled_optimum(settings.weight_decay, shares)
    np.testing.assert_allclose(found, expected, atol=3e-4)
    assert np.abs(limit_of_fedavg - expected).max() > 0.03


def test_feddyn_takes_the_steps_it_needs_however_few_the_examples() -> None:
    """Clients of 23, 6, 40 and 11 examples have 3, 1, 5 and 2 minibatches in an epoch."""
    settings = config("feddyn", feddyn_steps=7, feddyn_alpha=0.3)
    strategy = built(settings)
    head: Arrays = dict(strategy.head.initial("seeded", 0))
    trained = strategy.client_train(
        block_of(), Sites(strategy, block_of()).received(head, range(4)), 1
    )
    for client, (result, steps) in enumerate(zip(trained, (7, 7, 10, 7), strict=True)):
        theta = start = vector(head)
        minibatches_met = batches(settings.replace(local_epochs=7), client, 1)
        for x, y in itertools.islice(minibatches_met, steps):
            gradient = loss_and_gradient(theta, x, y)[1] + settings.weight_decay * theta
            theta = theta - settings.learning_rate * (gradient + 0.3 * (theta - start))
        np.testing.assert_allclose(vector(result.arrays), theta, rtol=1e-4, atol=1e-6)


def test_fednova_stretches_no_change_more_than_twice() -> None:
    strategy = built(config("fednova"))
    head: Arrays = dict(strategy.head.initial("zero", 0))
    ones = {f"normalised-change.{name}": np.ones_like(value) for name, value in head.items()}
    weights = (300.0, 300.0, 1.0)
    replies = [Reply(10, {**ones, "step-weight": np.float32(w)}) for w in weights]
    moved = strategy.aggregate(1, head, iter(replies))
    assert moved is not None
    tau = 601 / 3
    np.testing.assert_allclose(vector(moved), (tau + tau + 2) / 3, rtol=1e-5)


def test_qfedavg_with_q_nought_is_the_plain_mean() -> None:
    settings = config("qfedavg", qfedavg_q=0.0)
    heads = run(settings)
    ends = [local_sgd(settings, heads[0], client, 1)[0] for client in PART[1]]
    np.testing.assert_allclose(heads[1], np.mean(ends, axis=0), rtol=1e-4, atol=1e-5)


def test_a_larger_q_serves_the_worst_client_better() -> None:
    block = block_of()

    def worst(q: float) -> float:
        everyone = dict.fromkeys(range(1, 61), (0, 1, 2, 3))
        w = run(config("qfedavg", qfedavg_q=q), everyone)[-1]
        return max(
            loss_and_gradient(
                w,
                block.features[torch.from_numpy(rows)].double().numpy(),
                block.labels[torch.from_numpy(rows)].numpy(),
            )[0]
            for rows in block.rows
        )

    assert worst(0.0) - worst(2.0) > 0.02
