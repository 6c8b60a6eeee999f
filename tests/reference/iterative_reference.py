"""Clients of a strategy under test, and SGD as the papers write it, in float64 numpy.

The reference is a plain loop over clients and steps on one vector of parameters. It shares with the
code the order of the examples, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from named_classes import texts
from numpy.typing import NDArray

import strategies
from fedtl.config import RunConfig
from fedtl.federation.zero_shot import give_texts
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import LinearHead, Tensors
from fedtl.transfer.minibatches import batch_width, minibatches
from strategies.base import Arrays, HeadStrategy, Received, Reply

FEATURES, CLASSES = 4, 3
SIZES = (23, 6, 40, 11)
PART = {1: (0, 1, 2, 3), 2: (0, 2, 3), 3: (1, 2), 4: (0, 1, 2, 3)}
"""Who takes part in each round."""
MOMENTUM = {"momentum": 0.9, "learning_rate": 0.02}

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
    strategy = strategies.build(settings, LinearHead(FEATURES, CLASSES))
    give_texts(strategy, texts(CLASSES, FEATURES))
    return strategy


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
    return ClientBlock.unstandardised(
        torch.from_numpy(np.concatenate(features).astype(np.float32)),
        torch.from_numpy(np.concatenate(labels)),
        rows=np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]),
        partition_ids=range(len(sizes)),
        classes=CLASSES,
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


def batches(
    settings: RunConfig, client: int, server_round: int, block: ClientBlock | None = None
) -> Iterator[Batch]:
    """Yield a client's minibatches of a round, from ``block`` or else those of :func:`block_of`."""
    lone = (block_of() if block is None else block).select(np.array([client]))
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


def counted(weights: str, client: int) -> float:
    return float(SIZES[client]) if weights == "examples" else 1.0


def carried(momentum: float, steps: int) -> list[float]:
    """Return how often each of K gradients is stepped along: once, then μ, μ², … of it."""
    weights = [0.0] * steps
    for i in range(steps):
        for later in range(i, steps):
            weights[i] += momentum ** (later - i)
    return weights
