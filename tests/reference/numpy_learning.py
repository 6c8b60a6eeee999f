"""Learning as the docs say it, in plain Python and numpy: shuffles, SGD, and the best lone head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Linear = tuple[Floats, Floats]
"""Weight ``(K, d)`` and bias ``(K,)``."""

CANDIDATES = (("ridge", 0.5), ("lda", 0.5), ("softmax", 0.1), ("softmax", 0.02))
FOLDS = 5
_WORD = 2**64


# --- draws ----------------------------------------------------------------------------------------


def seed_of(seed: int, purpose: str, *indices: int) -> int:
    text = "\x1f".join(map(str, (seed, purpose, *indices)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed_of(seed, purpose, *indices)))


def _splitmix(state: int) -> int:
    """SplitMix64's output (Steele, Lea & Flood 2014)."""
    z = (state + 0x9E3779B97F4A7C15) % _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _WORD
    return z ^ (z >> 31)


def shuffled(rows: Rows, seed: int, client: int, server_round: int, epoch: int) -> Rows:
    """Return a client's rows in the order of an epoch."""
    root = seed_of(seed, f"shuffle/{server_round}/{epoch}")
    stream = _splitmix(root ^ _splitmix(client))
    keys = [_splitmix((stream + _splitmix(place)) % _WORD) for place in range(len(rows))]
    return rows[sorted(range(len(rows)), key=keys.__getitem__)]


# --- SGD ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SGD:
    """Local training as a run's settings have it.

    Attributes:
        seed, learning_rate, momentum, weight_decay, batch_size: The run's.
    """

    seed: int
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int

    @classmethod
    def of(cls, config: dict[str, float]) -> SGD:
        """Return what kebab-case settings say."""
        return cls(
            int(config["seed"]),
            config["learning-rate"],
            config["momentum"],
            config["weight-decay"],
            int(config["batch-size"]),
        )

    def trained(
        self, head: Linear, z: Floats, y: Rows, rows: Rows, client: int, *, at: int, epochs: int
    ) -> tuple[Linear, float]:
        """Return the head after epochs over a client's rows in round ``at``, and the mean loss."""
        weight, bias = (part.astype(np.float64) for part in head)
        fast, fast_bias = np.zeros_like(weight), np.zeros_like(bias)
        size = len(rows)
        width = min(self.batch_size, size if size <= 8 else 1 << (size - 1).bit_length())
        losses = []
        for epoch in range(epochs):
            order = shuffled(rows, self.seed, client, at, epoch)
            for batch in (order[start : start + width] for start in range(0, size, width)):
                p = np.exp(z[batch] @ weight.T + bias)
                p /= p.sum(1, keepdims=True)
                losses += (-np.log(p[np.arange(len(batch)), y[batch]])).tolist()
                p[np.arange(len(batch)), y[batch]] -= 1
                slope = p.T @ z[batch] / len(batch) + self.weight_decay * weight
                slope_bias = p.mean(0) + self.weight_decay * bias
                fast = self.momentum * fast + slope
                fast_bias = self.momentum * fast_bias + slope_bias
                weight = weight - self.learning_rate * fast
                bias = bias - self.learning_rate * fast_bias
        return (weight, bias), float(np.mean(losses))


# --- the best head of one party's rows ------------------------------------------------------------


def best_lone_heads(
    x: Floats, y: Rows, classes: int, rng: np.random.Generator
) -> list[tuple[Linear, str]]:
    """Return the head on standardised features that is right most often over folds, and how.

    All features vary, and rows are fewer than what makes the choice end early. Where candidates are
    chosen from, softmax regression may be solved roughly: those that a row more or less of its hits
    makes the first of the best are all returned.
    """
    z = (x - x.mean(0)) / x.std(0)
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % FOLDS
    hits = np.zeros(len(CANDIDATES), np.int64)
    for number in range(FOLDS):
        rest, here = fold != number, fold == number
        near: Floats | None = None
        for at, (method, penalty) in enumerate(CANDIDATES):
            (weight, bias), near = _solved(z[rest], y[rest], classes, method, penalty, near)
            hits[at] += ((z[here] @ weight.T + bias).argmax(1) == y[here]).sum()
    rough = np.array([method == "softmax" for method, _ in CANDIDATES])
    most, least = hits + rough, hits - rough
    return [
        (_solved(z, y, classes, method, penalty, None)[0], method)
        for at, (method, penalty) in enumerate(CANDIDATES)
        if (most[at] > least[:at]).all() and (most[at] >= least[at + 1 :]).all()
    ]


def _solved(
    z: Floats, y: Rows, classes: int, method: str, penalty: float, near: Floats | None
) -> tuple[Linear, Floats | None]:
    """Return a head, and what softmax regression of the same rows may begin at."""
    total = penalty * z.shape[1]
    if method == "softmax":
        return _softmax(z, y, classes, total, near)
    mean, onehot = z.mean(0), np.eye(classes)[y]
    centred, share = z - mean, onehot.mean(0)
    ridge = total * np.eye(z.shape[1])
    if method == "ridge":
        weight = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (onehot - share)).T
        return (weight, share - weight @ mean), near
    centres = np.array([z[y == k].mean(0) if share[k] else mean for k in range(classes)])
    apart = z - centres[y]
    weight = len(z) * np.linalg.solve(apart.T @ apart + ridge, (centres - mean).T).T
    bias = np.log(np.where(share > 0, share, 1e-9)) - (weight * (centres - mean)).sum(1) / 2
    return (weight, bias - weight @ mean), near


def _softmax(
    z: Floats, y: Rows, classes: int, total: float, near: Floats | None
) -> tuple[Linear, Floats]:
    """Minimise Σ -log p + total ‖W‖² / 2 by Newton's method, all coordinates at once."""
    seen = np.unique(y)
    x = np.column_stack([z, np.ones(len(z))])
    count, width = len(seen), x.shape[1]
    target = (y[:, None] == seen).astype(np.float64)
    # What all classes' biases have in common is free.
    shrink = np.append(np.full(width - 1, total), 1e-9)
    v = np.zeros((count, width)) if near is None else near
    for _ in range(50):
        p = np.exp(x @ v.T)
        p /= p.sum(1, keepdims=True)
        slope = (p - target).T @ x + shrink * v
        if np.abs(slope).max() < 1e-8:
            break
        curved = np.empty((count, width, count, width))
        for a in range(count):
            for b in range(a + 1):
                share = p[:, a] * ((a == b) - p[:, b])
                curved[a, :, b] = curved[b, :, a] = (x * share[:, None]).T @ x
        system = curved.reshape(count * width, -1) + np.diag(np.tile(shrink, count))
        v = v - np.linalg.solve(system, slope.ravel()).reshape(v.shape)
    weight, bias = np.zeros((classes, width - 1)), np.full(classes, -1.0)
    weight[seen], bias[seen] = v[:, :-1], v[:, -1] - v[:, -1].mean()
    return (weight, bias), v
