"""Iterative strategies against their papers' equations, over several rounds, in float64 numpy.

A reference here is a plain loop over clients and steps on one vector of parameters. It shares with
the code the order of the examples, and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

import strategies
from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.records import to_record
from fedtl.transfer.client_block import ClientBlock, batch_width, minibatches
from fedtl.transfer.heads import LinearHead, Tensors
from strategies.base import Arrays, HeadStrategy, Received, Reply

FEATURES, CLASSES, ROUNDS = 4, 3, 4
SIZES = (23, 6, 40, 11)
PART = {1: (0, 1, 2, 3), 2: (0, 2, 3), 3: (1, 2), 4: (0, 1, 2, 3)}
"""Who takes part in each round."""

Vector = NDArray[np.float64]
Batch = tuple[Vector, NDArray[np.int64]]
Descent = Callable[[Vector, Vector], Vector]
"""From the parameters and a minibatch's gradient there to the direction of descent."""


def config(strategy: str, **changes: Any) -> RunConfig:
    plain: dict[str, Any] = {
        "clients": len(SIZES),
        "batch_size": 8,
        "local_epochs": 2,
        "learning_rate": 0.1,
        "momentum": 0.0,
        "weight_decay": 0.01,
        "seed": 7,
        "feddyn_steps": 1,
    }
    return RunConfig(strategy=strategy, **(plain | changes))


def built(settings: RunConfig) -> HeadStrategy:
    return strategies.build(settings, LinearHead(FEATURES, CLASSES))


def block_of(sizes: Sequence[int] = SIZES) -> ClientBlock:
    """Return clients whose features and labels differ in distribution."""
    rng = np.random.default_rng(0)
    labels, features = [], []
    for client, size in enumerate(sizes):
        y = np.where(rng.random(size) < 0.6, client % CLASSES, rng.integers(CLASSES, size=size))
        labels.append(y)
        features.append(
            np.eye(CLASSES, FEATURES)[y] + 0.5 * client + rng.normal(size=(size, FEATURES))
        )
    return ClientBlock(
        features=torch.from_numpy(np.concatenate(features).astype(np.float32)),
        labels=torch.from_numpy(np.concatenate(labels)),
        rows=np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]),
        partition_ids=range(len(sizes)),
        classes=CLASSES,
        mean=torch.zeros(1, FEATURES),
        scale=torch.ones(1, FEATURES),
    )


def stacked(arrays: Arrays, clients: int) -> Tensors:
    return {k: torch.from_numpy(v).expand(clients, *v.shape) for k, v in arrays.items()}


def vector(arrays: Arrays) -> Vector:
    return np.concatenate([arrays["weight"].ravel(), arrays["bias"]]).astype(np.float64)


class Sites:
    """The clients of a strategy under test, each with its memory."""

    def __init__(self, strategy: HeadStrategy, block: ClientBlock) -> None:
        self.strategy, self.block = strategy, block
        self.memories: dict[int, Arrays] = {}

    def received(self, head: Arrays, clients: Sequence[int]) -> Received:
        """Return the head as these clients get it, with what each remembers."""
        sent = stacked(head, len(clients))
        memory = self.strategy.initial_memory(sent)
        for place, client in enumerate(clients):
            for name, value in self.memories.get(client, {}).items():
                memory[name][place] = torch.from_numpy(value)
        return Received(sent, memory=memory)

    def round(self, server_round: int, head: Arrays, clients: Sequence[int]) -> Arrays:
        """Return the next head; clients are trained in one stack."""
        server = stacked(self.strategy.to_clients(), len(clients))
        received = replace(self.received(head, clients), server=server)
        part = self.block.select(np.array(clients))
        trained = self.strategy.client_train(part, received, server_round)
        for client, result in zip(clients, trained, strict=True):
            self.memories[client] = {name: value.copy() for name, value in result.memory.items()}
            assert result.memory.keys() == self.strategy.memory.keys()
            assert {n: v.shape for n, v in result.arrays.items()} == dict(self.strategy.uplink)
        replies = [
            Reply(int(size), result.arrays)
            for size, result in zip(part.sizes, trained, strict=True)
        ]
        aggregated = self.strategy.aggregate(server_round, head, iter(replies))
        assert aggregated is not None
        assert all(value.dtype == np.float32 for value in aggregated.values())
        return aggregated


def run(settings: RunConfig, part: dict[int, tuple[int, ...]] = PART) -> list[Vector]:
    """Return the head after each round, from a seeded one."""
    strategy = built(settings)
    sites = Sites(strategy, block_of())
    head: Arrays = dict(strategy.head.initial("seeded", 0))
    heads = [vector(head)]
    for server_round, clients in part.items():
        head = sites.round(server_round, head, clients)
        # What a server forgets and is told again changes nothing.
        strategy.restore_server_state(strategy.server_state())
        heads.append(vector(head))
    return heads


# --- the reference --------------------------------------------------------------------------------


def batches(settings: RunConfig, client: int, server_round: int) -> Iterator[Batch]:
    lone = block_of().select(np.array([client]))
    width = batch_width(SIZES[client], settings.batch_size)
    for epoch in range(settings.local_epochs):
        for batch in minibatches(
            lone, width, seed=settings.seed, server_round=server_round, epoch=epoch
        ):
            real = batch.weight[0] > 0
            yield batch.x[0][real].double().numpy(), batch.y[0][real].numpy()


def loss_and_gradient(theta: Vector, x: Vector, y: NDArray[np.int64]) -> tuple[float, Vector]:
    """Return the mean cross-entropy of softmax regression and its gradient."""
    weight, bias = theta[: CLASSES * FEATURES].reshape(CLASSES, FEATURES), theta[-CLASSES:]
    logits = x @ weight.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    residual = (p - np.eye(CLASSES)[y]) / len(y)
    return loss, np.concatenate([(residual.T @ x).ravel(), residual.sum(0)])


def local_sgd(
    settings: RunConfig,
    start: Vector,
    client: int,
    server_round: int,
    descent: Descent = lambda theta, gradient: gradient,
) -> tuple[Vector, int]:
    """Return where SGD ends, and after how many steps."""
    theta, velocity, steps = start.copy(), np.zeros_like(start), 0
    for x, y in batches(settings, client, server_round):
        gradient = loss_and_gradient(theta, x, y)[1] + settings.weight_decay * theta
        velocity = settings.momentum * velocity + descent(theta, gradient)
        theta = theta - settings.learning_rate * velocity
        steps += 1
    return theta, steps


def share(clients: Sequence[int]) -> Vector:
    sizes = np.array([SIZES[client] for client in clients], np.float64)
    return sizes / sizes.sum()


def mean_change(settings: RunConfig, w: Vector, t: int, clients: Sequence[int]) -> Vector:
    changes = [local_sgd(settings, w, k, t)[0] - w for k in clients]
    return share(clients) @ np.array(changes)


Rule = Callable[[RunConfig, Vector, int, Sequence[int], dict[str, Any]], Vector]
"""One round: from the configuration, w, t, who takes part, and what was remembered, to the next."""


def fedavg(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    return w + mean_change(c, w, t, clients)


def fedprox(c: RunConfig, w: Vector, t: int, clients: Sequence[int], _: dict[str, Any]) -> Vector:
    ends = [
        local_sgd(c, w, k, t, lambda theta, g: g + c.fedprox_mu * (theta - w))[0] for k in clients
    ]
    return share(clients) @ np.array(ends)


def fedavgm(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
    s["v"] = c.server_momentum * s.get("v", 0) + mean_change(c, w, t, clients)
    return w + s["v"]


def adaptive(second_moment: Callable[[RunConfig, Vector, Vector], Vector]) -> Rule:
    def rule(c: RunConfig, w: Vector, t: int, clients: Sequence[int], s: dict[str, Any]) -> Vector:
        change = mean_change(c, w, t, clients)
        s["m"] = c.server_momentum * s.get("m", 0) + (1 - c.server_momentum) * change
        s["v"] = second_moment(c, s.get("v", np.full_like(w, c.server_tau**2)), change**2)
        return w + c.server_learning_rate * s["m"] / (np.sqrt(s["v"]) + c.server_tau)

    return rule


def counted(weights: str, client: int) -> float:
    return float(SIZES[client]) if weights == "examples" else 1.0


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
    by = c.scaffold_weights
    s["c"] = sum(counted(by, k) * ck for k, ck in own.items()) / total_of_all(by, replies)
    return w + np.average(moves, axis=0, weights=[counted(by, k) for k in clients])


def carried(momentum: float, steps: int) -> list[float]:
    """Return how often each of K gradients is stepped along: once, then μ, μ², … of it."""
    weights = [0.0] * steps
    for i in range(steps):
        for later in range(i, steps):
            weights[i] += momentum ** (later - i)
    return weights


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
    alpha, linear = c.feddyn_alpha, s.setdefault("linear", {})
    replies, by, ends = s.setdefault("replies", []), c.feddyn_weights, []
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
    q, block = c.qfedavg_q, block_of()
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


MOMENTUM = {"momentum": 0.9, "learning_rate": 0.02}
ADAPTIVE = {"server_learning_rate": 0.05, "server_momentum": 0.8, "server_beta2": 0.9}
CASES: dict[str, tuple[Rule, str, dict[str, Any]]] = {
    "fedavg": (fedavg, "fedavg", {}),
    "fedavg, momentum": (fedavg, "fedavg", MOMENTUM),
    "fedprox": (fedprox, "fedprox", {"fedprox_mu": 0.7}),
    "fedprox, momentum": (fedprox, "fedprox", {"fedprox_mu": 0.7, **MOMENTUM}),
    "fedavgm": (fedavgm, "fedavgm", {"server_momentum": 0.6}),
    "fedadagrad": (adaptive(lambda c, v, d2: v + d2), "fedadagrad", ADAPTIVE),
    "fedadam": (
        adaptive(lambda c, v, d2: c.server_beta2 * v + (1 - c.server_beta2) * d2),
        "fedadam",
        ADAPTIVE,
    ),
    "fedyogi": (
        adaptive(lambda c, v, d2: v - (1 - c.server_beta2) * d2 * np.sign(v - d2)),
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


# --- identities -----------------------------------------------------------------------------------


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
    "weight_decay": 0.05,
}
UNTIL_THE_LIMIT = range(1, 171)
EVERYONE = dict.fromkeys(UNTIL_THE_LIMIT, tuple(range(len(SIZES))))


@pytest.fixture(scope="module")
def limit_of_fedavg() -> Vector:
    return run(config("fedavg", **TO_THE_LIMIT), EVERYONE)[-1]


@pytest.mark.parametrize("name", ["scaffold", "feddyn"])
@pytest.mark.parametrize("weights", ["examples", "clients"])
@pytest.mark.parametrize("absent", [False, True])
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
    expected = pooled_optimum(0.05, shares)
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
