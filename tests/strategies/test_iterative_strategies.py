"""Iterative strategies against their papers' equations, over several rounds, in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from hypothesis import given, settings
from hypothesis import strategies as st
from iterative_reference import (
    MOMENTUM,
    PART,
    SIZES,
    Vector,
    block_of,
    built,
    carried,
    config,
    counted,
    local_sgd,
    loss_and_gradient,
    run,
    share,
    stacked,
)
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.records import to_record
from strategies.base import Arrays, Received, Reply

Rule = Callable[[RunConfig, Vector, int, Sequence[int], dict[str, Any]], Vector]
"""One round: from the configuration, w, t, who takes part, and what was remembered, to the next."""


def mean_change(settings: RunConfig, w: Vector, t: int, clients: Sequence[int]) -> Vector:
    changes = [local_sgd(settings, w, k, t)[0] - w for k in clients]
    return share(clients) @ np.array(changes)


def fedavg(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    return w + mean_change(c, w, t, clients)


def fedprox(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    ends = [
        local_sgd(c, w, k, t, lambda theta, g: g + c.option("fedprox-mu") * (theta - w))[0]
        for k in clients
    ]
    return share(clients) @ np.array(ends)


def fedavgm(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
    s["v"] = c.option("server-momentum") * s.get("v", 0) + mean_change(c, w, t, clients)
    return w + s["v"]


def beta2(c: RunConfig) -> Any:
    return c.option("server-beta2")


def adaptive(second_moment: Callable[[RunConfig, Vector, Vector], Vector]) -> Rule:
    def rule(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
        change = mean_change(c, w, t, clients)
        s["m"] = (
            c.option("server-momentum") * s.get("m", 0) + (1 - c.option("server-momentum")) * change
        )
        s["v"] = second_moment(
            c, s.get("v", np.full_like(w, c.option("server-tau") ** 2)), change**2
        )
        return w + c.option("server-learning-rate") * s["m"] / (
            np.sqrt(s["v"]) + c.option("server-tau")
        )

    return rule


def total_of_all(weights: str, replies: list[int]) -> float:
    """Return what all clients count for, by those that replied so far."""
    return len(SIZES) * float(np.mean([counted(weights, k) for k in replies]))


def scaffold(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
    """Every variate is the mean of the gradients that was stepped along, each by its weight."""
    own, replies = s.setdefault("own", {}), s.setdefault("replies", [])
    control = s.get("c", np.zeros_like(w))
    moves = []
    for k in clients:
        ck, met = own.get(k, np.zeros_like(w)), []

        def corrected(_: Vector, g: Vector, ck: Vector = ck, met: list[Vector] = met) -> Vector:
            met.append(g)
            return g - ck + control

        end, steps = local_sgd(c, w, k, t, corrected)
        own[k] = np.average(met, axis=0, weights=carried(c.momentum, steps))
        moves.append(end - w)
    replies += clients
    by = c.option("scaffold-weights")
    s["c"] = sum(counted(by, k) * ck for k, ck in own.items()) / total_of_all(by, replies)
    return w + np.average(moves, axis=0, weights=[counted(by, k) for k in clients])


def fednova(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    rho, p = c.momentum, share(clients)
    directions, norms = [], []
    for k in clients:
        end, tau = local_sgd(c, w, k, t)
        norm = (tau - rho * (1 - rho**tau) / (1 - rho)) / (1 - rho)
        directions.append((w - end) / (c.learning_rate * norm))
        norms.append(norm)
    stretch = [c.learning_rate * min(p @ norms, 2 * norm) for norm in norms]
    return w - (p * stretch) @ np.array(directions)


def feddyn(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
    alpha, linear = c.option("feddyn-alpha"), s.setdefault("linear", {})
    replies, by, ends = s.setdefault("replies", []), c.option("feddyn-weights"), []
    for k in clients:
        gk = linear.get(k, np.zeros_like(w))
        end, _ = local_sgd(c, w, k, t, lambda x, g, gk=gk: g - gk + alpha * (x - w))  # type: ignore[misc]
        linear[k] = gk - alpha * (end - w)
        ends.append(end)
    replies += clients
    # Every change of a client's term enters h once.
    h = sum(counted(by, k) * gk for k, gk in linear.items()) / total_of_all(by, replies)
    return np.average(ends, axis=0, weights=[counted(by, k) for k in clients]) - h / alpha


def qfedavg(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    q, block = c.option("qfedavg-q"), block_of()
    ends = [local_sgd(c, w, k, t) for k in clients]
    gradients_behind = np.mean([sum(carried(c.momentum, steps)) for _, steps in ends])
    lipschitz = 1 / (c.learning_rate * gradients_behind)
    numerator, denominator = np.zeros_like(w), 0.0
    for k, (end, _) in zip(clients, ends, strict=True):
        rows = torch.from_numpy(block.rows[k])
        x, y = block.features[rows].double().numpy(), block.labels[rows].numpy()
        f, _ = loss_and_gradient(w, x, y)
        delta = lipschitz * (w - end)
        numerator += f**q * delta
        denominator += q * f ** (q - 1) * (delta @ delta) + lipschitz * f**q
    return w - numerator / denominator


ADAPTIVE = {"server_learning_rate": 0.05, "server_momentum": 0.8, "server_beta2": 0.9}
CASES: dict[str, tuple[Rule, str, dict[str, Any]]] = {
    "fedavg": (fedavg, "fedavg", {}),
    "fedavg, momentum": (fedavg, "fedavg", MOMENTUM),
    "fedprox": (fedprox, "fedprox", {"fedprox_mu": 0.7}),
    "fedprox, momentum": (fedprox, "fedprox", {"fedprox_mu": 0.7, **MOMENTUM}),
    "fedavgm": (fedavgm, "fedavgm", {"server_momentum": 0.6}),
    "fedadagrad": (adaptive(lambda c, v, d2: v + d2), "fedadagrad", ADAPTIVE),
    "fedadam": (
        adaptive(
            lambda c, v, d2: c.option("server-beta2") * v + (1 - c.option("server-beta2")) * d2
        ),
        "fedadam",
        ADAPTIVE,
    ),
    "fedyogi": (
        adaptive(lambda c, v, d2: v - (1 - c.option("server-beta2")) * d2 * np.sign(v - d2)),
        "fedyogi",
        ADAPTIVE,
    ),
    "scaffold": (scaffold, "scaffold", {}),
    "scaffold, momentum": (scaffold, "scaffold", MOMENTUM),
    "scaffold, by clients": (scaffold, "scaffold", {"scaffold_weights": "clients", **MOMENTUM}),
    "fednova": (fednova, "fednova", {}),
    "fednova, momentum": (fednova, "fednova", MOMENTUM),
    "feddyn": (feddyn, "feddyn", {"feddyn_alpha": 0.3}),
    "feddyn, by clients": (
        feddyn,
        "feddyn",
        {"feddyn_alpha": 0.3, "feddyn_weights": "clients", **MOMENTUM},
    ),
    "qfedavg": (qfedavg, "qfedavg", {"qfedavg_q": 2.0}),
    "qfedavg, momentum": (qfedavg, "qfedavg", {"qfedavg_q": 2.0, **MOMENTUM}),
}


@pytest.mark.parametrize("case", CASES)
def test_heads_are_those_of_the_papers_equations(case: str) -> None:
    rule, name, changes = CASES[case]
    settings = config(name, **changes)
    found = run(settings)
    w, remembered = found[0], dict[str, Any]()
    for server_round, clients in PART.items():
        w = rule(settings, w, server_round, clients, remembered)
        np.testing.assert_allclose(found[server_round], w, rtol=2e-4, atol=2e-5)
    # The rounds matter, and so does what sets the strategy apart.
    assert np.abs(w - found[0]).max() > 0.05
    if rule is not fedavg:
        assert np.abs(w - run(config("fedavg", **changes))[-1]).max() > 1e-3


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted({name for _, name, _ in CASES.values()})),
    st.permutations(range(len(SIZES))),
    st.integers(0, len(SIZES)),
)
def test_a_clients_bits_do_not_depend_on_its_company(
    name: str, order: list[int], first: int
) -> None:
    """Trained in one stack, permuted, or in two: the same bytes are sent and kept."""
    strategy = built(config(name, momentum=0.5))
    block = block_of()
    rng = np.random.default_rng(3)
    memory = {
        key: torch.from_numpy(rng.normal(size=(len(SIZES), *shape)).astype(np.float32))
        for key, shape in strategy.memory.items()
    }
    head = stacked(dict(strategy.head.initial("seeded", 1)), len(SIZES))
    server = {
        key: torch.from_numpy(rng.normal(size=shape).astype(np.float32)).expand(len(SIZES), *shape)
        for key, shape in strategy.downlink.items()
    }
    received = Received(head, server, memory)
    together = strategy.client_train(block, received, 2)
    for chosen in (order[:first], order[first:]):
        if not chosen:
            continue
        index = np.array(chosen)
        apart = strategy.client_train(block.select(index), received.select(index), 2)
        for client, result in zip(chosen, apart, strict=True):
            whole = together[client]
            assert result.loss == whole.loss
            for mine, theirs in ((result.arrays, whole.arrays), (result.memory, whole.memory)):
                assert mine.keys() == theirs.keys()
                assert all(mine[key].tobytes() == theirs[key].tobytes() for key in mine)


# --- beside Flower's own server rules -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("fedavgm", flower.FedAvgM(server_learning_rate=0.5, server_momentum=0.7)),
        ("fedyogi", flower.FedYogi(eta=0.5, beta_1=0.7, beta_2=0.9, tau=0.01)),
        ("fedadagrad", flower.FedAdagrad(eta=0.5, tau=0.01)),
    ],
)
def test_the_servers_step_is_flowers(name: str, theirs: flower.FedAvg) -> None:
    """Given where v begins, which is τ² in the paper and nought in Flower."""
    assume_server_identity()
    ours = built(
        config(
            name,
            server_learning_rate=0.5,
            server_momentum=0.0 if name == "fedadagrad" else 0.7,
            server_beta2=0.9,
            server_tau=0.01,
        )
    )
    rng = np.random.default_rng(0)
    head: Arrays = dict(ours.head.initial("seeded", 0))
    flowers = {key: value.astype(np.float64) for key, value in head.items()}
    theirs.v_t = {key: np.full_like(value, 0.01**2) for key, value in flowers.items()}  # type: ignore[attr-defined]
    for server_round in range(1, 4):
        changes = [
            {key: rng.normal(size=value.shape).astype(np.float32) for key, value in head.items()}
            for _ in range(3)
        ]
        replies = [
            Reply(n, {key: head[key] + change[key] for key in head})
            for n, change in zip((3, 5, 8), changes, strict=True)
        ]
        messages = [
            _message({key: flowers[key] + change[key] for key in head}, reply.examples)
            for reply, change in zip(replies, changes, strict=True)
        ]
        theirs.current_arrays = (  # type: ignore[attr-defined]
            to_record(flowers) if name == "fedavgm" else dict(flowers)
        )
        aggregated = ours.aggregate(server_round, head, replies)
        assert aggregated is not None
        record, _ = theirs.aggregate_train(server_round, messages)
        assert record is not None
        head = aggregated
        flowers = {key: array.numpy() for key, array in record.items()}
        for key, value in head.items():
            np.testing.assert_allclose(value, flowers[key], rtol=1e-4, atol=1e-5)


def _message(arrays: dict[str, NDArray[Any]], examples: int) -> Message:
    question = Message(
        RecordDict({"config": ConfigRecord({})}), dst_node_id=2, message_type="train"
    )
    metrics = MetricRecord({"num-examples": examples})
    content = RecordDict({"arrays": to_record(arrays), "metrics": metrics})
    return Message(content, reply_to=question)
