"""Labelled features at clients, and what a closed-form strategy makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_federation import block_of

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import LinearHead
from strategies import load
from strategies.base import Arrays, ClosedFormStrategy, Reply

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Rows, who has which of them, and the settings of whatever strategy solves for a head."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int
    parts: Sequence[NDArray[np.int64]]
    penalty: float = 0.1
    fedcof_parts: int = 1

    @property
    def block(self) -> ClientBlock:
        return block_of(self.x, self.y, self.parts, self.classes)

    def strategy(self, name: str) -> ClosedFormStrategy:
        config = RunConfig(
            strategy=name,
            ridge_penalty=self.penalty,
            fedcof_parts=self.fedcof_parts,
            clients=len(self.parts),
        )
        built = load(name)(config, LinearHead(self.x.shape[1], self.classes))
        assert isinstance(built, ClosedFormStrategy)
        return built

    def replies(self, name: str) -> list[Reply]:
        strategy, block = self.strategy(name), self.block
        return [
            Reply(len(rows), strategy.client_statistics(block, client))
            for client, rows in enumerate(self.parts)
        ]

    def solved(self, name: str) -> Arrays:
        head = self.strategy(name).aggregate(1, {}, self.replies(name))
        assert head is not None
        return head

    def of_deviations(self, head: Arrays) -> Arrays:
        """Return the head that takes features in standard deviations: its weights have a scale."""
        return {**head, "weight": head["weight"] * self.x.astype(np.float64).std(0)}

    def alone(self, name: str) -> list[Arrays]:
        return [head.arrays for head in self.strategy(name).train_alone(self.block)]


def logits_of(head: Arrays, x: NDArray[np.floating]) -> Floats:
    return x.astype(np.float64) @ head["weight"].T + head["bias"]


def predicted(head: Arrays, x: NDArray[np.floating]) -> NDArray[np.int64]:
    return logits_of(head, x).argmax(1)


def assert_close(actual: Arrays, expected: Arrays, tolerance: float = 1e-8) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        distance = np.linalg.norm(actual[name] - value)
        assert distance <= tolerance * np.linalg.norm(value) + 1e-11, name


def problem_of(
    rows: int = 60, width: int = 6, classes: int = 3, clients: int = 5, seed: int = 1
) -> Problem:
    """Return classes apart, on correlated features of unlike scales, one of them constant."""
    draws = np.random.default_rng(seed)
    y = draws.integers(classes, size=rows)
    mixing = draws.standard_normal((width, width))
    x = (draws.standard_normal((classes, width))[y] + draws.standard_normal((rows, width))) @ mixing
    x = x * 10.0 ** draws.uniform(-1, 1, width) + draws.uniform(-5, 5, width)
    x[:, 3::8] = 0.1
    parts = np.array_split(draws.permutation(rows), clients)
    return Problem(x.astype(np.float32), y, classes, parts)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw clients of skewed classes, of one class each, or of one example each."""
    problem = problem_of(
        rows=draw(st.integers(4, 60)),
        width=draw(st.integers(1, 12)),
        classes=draw(st.integers(2, 5)),
        clients=1,
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["skewed", "a class each", "an example each"]))
    if kind == "skewed":
        share = draws.dirichlet(np.full(draw(st.integers(1, 8)), 0.3), size=problem.classes)
        owner = np.array([draws.choice(share.shape[1], p=share[label]) for label in problem.y])
    else:
        owner = problem.y if kind == "a class each" else np.arange(len(problem.y))
    parts = [np.flatnonzero(owner == client) for client in draws.permutation(np.unique(owner))]
    return replace(problem, parts=parts, penalty=draw(st.sampled_from([1e-2, 0.5, 30.0])))


def pooled(problem: Problem) -> Problem:
    return replace(problem, parts=[np.arange(len(problem.y))])
