"""Clients' own heads against their papers' equations, over several rounds, in float64 numpy.

A reference here is a plain loop over clients and steps. It shares with the code the order of the
examples, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from iterative_reference import (
    CLASSES,
    FEATURES,
    MOMENTUM,
    SIZES,
    Sites,
    Vector,
    batches,
    block_of,
    built,
    config,
    loss_and_gradient,
    share,
    stacked,
    vector,
)
from numpy.typing import NDArray

import strategies
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import CosineHead, LinearHead, build_head
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, HeadStrategy, Received
from strategies.base.coordinates import in_standardised

PART = {1: (0, 1, 3), 2: (0, 3), 3: (1, 3), 4: (0, 1)}
"""Who takes part in each round; client 2 never does."""
HIDDEN = 5
EVERYBODY = range(len(SIZES))
Named = dict[str, Vector]


def mlp(settings: RunConfig) -> HeadStrategy:
    return strategies.build(
        settings, build_head("mlp", features=FEATURES, classes=CLASSES, hidden_units=HIDDEN)
    )


def closing(sites: Sites, head: Arrays) -> list[AloneHead]:
    """Return every client's own head at the end of a run with this final head."""
    received = sites.received(head, EVERYBODY)
    return sites.strategy.personal_heads(sites.block, received, [])


def federated(
    strategy: HeadStrategy, part: dict[int, tuple[int, ...]] = PART
) -> Iterator[tuple[int, Sites, Arrays]]:
    """Yield the sites and the global head as they begin, and after each round."""
    sites = Sites(strategy, block_of())
    head: Arrays = dict(strategy.head.initial("seeded", 0))
    yield 0, sites, head
    for server_round, clients in part.items():
        head = sites.round(server_round, head, clients)
        yield server_round, sites, head


class Descent:
    """A point that SGD with momentum and weight decay moves."""

    def __init__(self, settings: RunConfig, start: Vector) -> None:
        self.at, self._velocity, self._settings = start.copy(), np.zeros_like(start), settings

    def slope(self, x: Vector, y: NDArray[np.int64], at: Vector | None = None) -> Vector:
        """Return the gradient of the loss with weight decay, here or elsewhere."""
        at = self.at if at is None else at
        return loss_and_gradient(at, x, y)[1] + self._settings.weight_decay * at

    def step(self, slope: Vector) -> None:
        self._velocity = self._settings.momentum * self._velocity + slope
        self.at = self.at - self._settings.learning_rate * self._velocity


# --- ditto and apfl -------------------------------------------------------------------------------

Own = dict[int, Vector]
Round = Callable[[RunConfig, Vector, int, Sequence[int], Own], Vector]
"""One round: from w, t, who takes part and their own vectors, which it moves, to the next w."""


def ditto(c: RunConfig, w: Vector, t: int, clients: Sequence[int], own: Own) -> Vector:
    ends = []
    for k in clients:
        shared, mine = Descent(c, w), Descent(c, own.get(k, w))
        for x, y in batches(c, k, t):
            shared.step(shared.slope(x, y))
            mine.step(mine.slope(x, y) + c.option("ditto-lambda") * (mine.at - w))
        own[k] = mine.at
        ends.append(shared.at)
    return share(clients) @ np.array(ends)


def apfl(c: RunConfig, w: Vector, t: int, clients: Sequence[int], own: Own) -> Vector:
    alpha, ends = c.option("apfl-alpha"), []
    for k in clients:
        shared, mine = Descent(c, w), Descent(c, own.get(k, w))
        for x, y in batches(c, k, t):
            mixture = alpha * mine.at + (1 - alpha) * shared.at
            slope, own_slope = shared.slope(x, y), alpha * shared.slope(x, y, mixture)
            shared.step(slope)
            mine.step(own_slope)
        own[k] = mine.at
        ends.append(shared.at)
    return share(clients) @ np.array(ends)


@pytest.mark.parametrize("changes", [{}, MOMENTUM], ids=["plain", "momentum"])
@pytest.mark.parametrize(
    ("rule", "name", "own_term"),
    [(ditto, "ditto", {"ditto_lambda": 0.6}), (apfl, "apfl", {"apfl_alpha": 0.7})],
)
def test_own_heads_are_those_of_the_papers_equations(
    rule: Round, name: str, own_term: dict[str, Any], changes: dict[str, Any]
) -> None:
    settings = config(name, **own_term, **changes)
    w, own = np.empty(0), Own()
    for server_round, sites, head in federated(built(settings)):
        if not server_round:
            w = vector(head)
            continue
        w = rule(settings, w, server_round, PART[server_round], own)
        np.testing.assert_allclose(vector(head), w, rtol=2e-4, atol=2e-5)
        assert sites.memories.keys() == own.keys()
        for client, mine in own.items():
            np.testing.assert_allclose(vector(sites.memories[client]), mine, rtol=2e-4, atol=2e-5)
    assert own.keys() == {0, 1, 3}
    alpha = settings.option("apfl-alpha") if rule is apfl else 1.0
    for client, used in enumerate(closing(sites, head)):
        expected = alpha * own.get(client, w) + (1 - alpha) * w
        np.testing.assert_allclose(vector(used.arrays), expected, rtol=2e-4, atol=2e-5)
    # What sets the strategy apart matters.
    for client in own:
        assert np.abs(own[client] - w).max() > 0.02
    other = {"ditto_lambda": 0.0, "apfl_alpha": 0.3}
    *_, (_, elsewhere, _) = federated(built(config(name, **other, **changes)))
    assert np.abs(vector(elsewhere.memories[0]) - own[0]).max() > 0.005


def test_ditto_without_its_pull_is_local_training_and_its_server_fedavg() -> None:
    everyone = dict.fromkeys(range(1, 4), tuple(EVERYBODY))
    *_, (_, sites, head) = federated(built(config("ditto", ditto_lambda=0.0)), everyone)
    *_, (_, _, average) = federated(built(config("fedavg")), everyone)
    assert vector(head).tobytes() == vector(average).tobytes()
    for client in EVERYBODY:
        alone = dict.fromkeys(everyone, (client,))
        *_, (_, _, own) = federated(built(config("fedavg")), alone)
        np.testing.assert_allclose(vector(sites.memories[client]), vector(own), rtol=1e-6)


def test_apfl_with_none_of_its_own_is_fedavg() -> None:
    *_, (_, sites, head) = federated(built(config("apfl", apfl_alpha=0.0)))
    *_, (_, _, average) = federated(built(config("fedavg")))
    for used in closing(sites, head):
        assert vector(used.arrays).tobytes() == vector(average).tobytes()


# --- fedper ---------------------------------------------------------------------------------------


def mlp_slopes(p: Named, x: Vector, y: NDArray[np.int64], decay: float) -> Named:
    """Return the gradients of the mean cross-entropy of one hidden layer of rectified units."""
    before = x @ p["hidden.weight"].T + p["hidden.bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ p["output.weight"].T + p["output.bias"]
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    residual = (probability - np.eye(CLASSES)[y]) / len(y)
    back = (residual @ p["output.weight"]) * (before > 0)
    slopes = {
        "hidden.weight": back.T @ x,
        "hidden.bias": back.sum(0),
        "output.weight": residual.T @ hidden,
        "output.bias": residual.sum(0),
    }
    return {name: slope + decay * p[name] for name, slope in slopes.items()}


def fedper(
    c: RunConfig, shared: Named, t: int, clients: Sequence[int], own: dict[int, Named]
) -> Named:
    ends = []
    for k in clients:
        p = {**shared, **own[k]}
        for x, y in batches(c, k, t):
            slopes = mlp_slopes(p, x, y, c.weight_decay)
            p = {name: value - c.learning_rate * slopes[name] for name, value in p.items()}
        own[k] = {name: p[name] for name in own[k]}
        ends.append({name: p[name] for name in shared})
    return {
        name: sum(n * end[name] for n, end in zip(share(clients), ends, strict=True))
        for name in shared
    }


def test_fedper_shares_the_hidden_layer_and_keeps_the_last() -> None:
    settings = config("fedper", head="mlp", learning_rate=0.2)
    strategy = mlp(settings)
    shared, own = Named(), dict[int, Named]()
    for server_round, sites, head in federated(strategy):
        if not server_round:
            first = {name: value.astype(np.float64) for name, value in head.items()}
            shared = {name: first.pop(name) for name in ("hidden.weight", "hidden.bias")}
            own = {client: dict(first) for client in EVERYBODY}
            continue
        shared = fedper(settings, shared, server_round, PART[server_round], own)
        # What a site scores, what it uses and what it sends are of one head.
        in_use = strategy.scored(sites.received(head, EVERYBODY))
        for client, used in enumerate(closing(sites, head)):
            assert used.arrays.keys() == strategy.head.shapes.keys()
            for name, value in used.arrays.items():
                expected = {**shared, **own[client]}[name]
                np.testing.assert_allclose(value, expected, rtol=5e-4, atol=5e-5)
                np.testing.assert_array_equal(value, in_use[name][client].numpy())
        for name, value in first.items():
            np.testing.assert_array_equal(head[name], value.astype(np.float32))
    assert strategy.uplink.keys() == shared.keys()
    for client in (0, 1, 3):
        assert np.abs(own[client]["output.weight"] - first["output.weight"]).max() > 0.05
    assert np.abs(own[0]["output.weight"] - own[3]["output.weight"]).max() > 0.05


@pytest.mark.parametrize("head", [LinearHead(3, 2), CosineHead(3, 2)])
def test_fedper_with_one_layer_is_refused(head: LinearHead | CosineHead) -> None:
    kind = "linear" if isinstance(head, LinearHead) else "cosine"
    with pytest.raises(
        UsageError, match=r"frozen backbone .* without federation: use head = 'mlp'"
    ):
        strategies.build(RunConfig(strategy="fedper", head=kind), head)


# --- fine-tuning the final head -------------------------------------------------------------------


def fine_tuned(settings: RunConfig, block: ClientBlock, client: int, start: Vector) -> Vector:
    epochs = settings.replace(local_epochs=settings.personalise)
    mine = Descent(epochs, start)
    for x, y in batches(epochs, client, settings.most_rounds + 1, block):
        mine.step(mine.slope(x, y))
    return mine.at


@pytest.mark.parametrize("name", ["fedavg", "scaffold"])
def test_the_final_head_is_fine_tuned_by_sgd(name: str) -> None:
    settings = config(name, personalise=3, rounds=4, **MOMENTUM)
    rng = np.random.default_rng(1)
    told = Standardisation(
        rng.normal(size=FEATURES).astype(np.float32),
        rng.uniform(0.5, 2, FEATURES).astype(np.float32),
    )
    strategy, block = built(settings), block_of().standardised([told])
    assert strategy.personalises
    final: Arrays = dict(strategy.head.initial("seeded", 5))
    received = Received(stacked(final, len(SIZES)))
    for client, own in enumerate(strategy.personal_heads(block, received, [])):
        expected = fine_tuned(settings, block, client, vector(final))
        np.testing.assert_allclose(vector(own.arrays), expected, rtol=2e-4, atol=2e-5)
        assert np.abs(expected - vector(final)).max() > 0.02
        np.testing.assert_array_equal(own.standardisation.mean, told.mean)
        np.testing.assert_array_equal(own.standardisation.scale, told.scale)


def test_a_closed_form_is_fine_tuned_in_each_clients_own_coordinates() -> None:
    settings = config("fed3r", personalise=2)
    strategy, block = built(settings), block_of()
    constant = 3
    block.features[torch.from_numpy(block.rows[1]), constant] = 1.5
    final: Arrays = dict(strategy.head.initial("seeded", 5))
    final["bias"] = np.array([0.2, -0.1, 0.4], np.float32)
    received = Received(stacked(final, len(SIZES)))
    for client, own in enumerate(strategy.personal_heads(block, received, [])):
        x = block.features[torch.from_numpy(block.rows[client])].double().numpy()
        mean, deviation = x.mean(0), x.std(0)
        if client == 1:
            deviation[constant] = 1.0
        weight = final["weight"].astype(np.float64)
        start = {
            "weight": weight * deviation / 0.1,
            "bias": (final["bias"] + weight @ mean) / 0.1,
        }
        np.testing.assert_allclose(own.standardisation.mean, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(own.standardisation.scale, 1 / deviation, rtol=1e-5)
        there = block.standardised([own.standardisation])
        expected = fine_tuned(settings, there, client, vector(start))
        np.testing.assert_allclose(vector(own.arrays), expected, rtol=5e-4, atol=5e-5)
        assert np.abs(expected - vector(start)).max() > 0.02


def test_a_head_says_the_same_in_other_coordinates() -> None:
    rng = np.random.default_rng(2)
    head = {"weight": rng.normal(size=(CLASSES, FEATURES)), "bias": rng.normal(size=CLASSES)}
    scale = np.array([0.5, 0.0, 2.0, 8.0], np.float32)
    told = Standardisation(rng.normal(size=FEATURES).astype(np.float32), scale)
    moved = in_standardised(head, told, 0.25)
    assert {value.dtype for value in moved.values()} == {np.dtype(np.float32)}
    x = rng.normal(size=(20, FEATURES))
    x[:, 1] = told.mean[1]  # a feature of scale 0 never varies
    z = (x - told.mean) * scale
    logits = z @ moved["weight"].T + moved["bias"]
    np.testing.assert_allclose(logits, (x @ head["weight"].T + head["bias"]) / 0.25, atol=1e-5)


# --- what all of them keep to ---------------------------------------------------------------------

PERSONALISED = {
    "ditto": built(config("ditto", momentum=0.5)),
    "apfl": built(config("apfl", momentum=0.5)),
    "fedper": mlp(config("fedper", head="mlp", momentum=0.5)),
    "fine-tuning": built(config("fedavg", personalise=2, momentum=0.5)),
    "fine-tuning a closed form": built(config("fedncm", personalise=2)),
}


@pytest.mark.parametrize("name", PERSONALISED)
def test_a_clients_own_head_does_not_depend_on_its_company(name: str) -> None:
    strategy, block = PERSONALISED[name], block_of()
    sent = stacked(dict(strategy.head.initial("seeded", 0)), len(SIZES))
    rng = np.random.default_rng(3)
    memory = {
        key: torch.from_numpy(rng.normal(size=(len(SIZES), *shape)).astype(np.float32))
        for key, shape in strategy.memory.items()
    }
    received = Received(sent, memory=memory)

    def told(clients: list[int]) -> list[dict[str, bytes]]:
        part, theirs = block.select(np.array(clients)), received.select(np.array(clients))
        own = strategy.personal_heads(part, theirs, [])
        trained = strategy.client_train(part, theirs, 2)
        return [
            {
                f"{what}, {key}": value.tobytes()
                for what, arrays in (
                    ("own", head.arrays),
                    ("sent", one.arrays),
                    ("kept", one.memory),
                )
                for key, value in arrays.items()
            }
            for head, one in zip(own, trained, strict=True)
        ]

    assert told([2, 0, 3, 1]) == [told([client])[0] for client in (2, 0, 3, 1)]


@pytest.mark.parametrize("name", ["ditto", "apfl", "local"])
def test_a_strategy_with_own_heads_is_not_personalised_twice(name: str) -> None:
    with pytest.raises(UsageError, match="already; use personalise = 0"):
        built(config(name, personalise=1))


@pytest.mark.parametrize("name", ["fedper", "local"])
def test_a_site_that_takes_no_part_needs_a_global_head(name: str) -> None:
    with pytest.raises(UsageError, match="has no global head that could serve 'ward'"):
        mlp(config(name, head="mlp", holdout_site="ward"))
