"""What a scenario lets go wrong at clients: some drop out, some are slow, some are hostile.

Each client finds out for itself, from the configuration, the round and its own partition id, so
that it is the same in every way to run. Whoever runs a federation for real leaves these keys alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.transfer.client_block import ClientBlock, ClientData
from strategies.base import Arrays, Trained


def drops_out(config: RunConfig, server_round: int, partition_id: int) -> bool:
    """Return whether a client is missing in a round: with probability ``dropout``."""
    if not config.dropout:
        return False
    draw = generator(config.seed, "dropout", server_round, partition_id).random()
    return bool(draw < config.dropout)


def attackers(config: RunConfig) -> frozenset[int]:
    """Return the partition ids of the hostile clients: ``attackers`` of all, to the nearest."""
    if config.attack == "none":
        return frozenset()
    return _drawn(config.seed, config.clients, round(config.attackers * config.clients))


@lru_cache(maxsize=16)
def _drawn(seed: int, clients: int, count: int) -> frozenset[int]:
    drawn = generator(seed, "attackers").choice(clients, count, replace=False)
    return frozenset(drawn.tolist())


def before_training(config: RunConfig, server_round: int, block: ClientBlock) -> ClientBlock:
    """Return the block as it trains: stragglers with less time, some with false labels.

    A straggler, with probability ``straggle``, does a uniformly drawn part of its local steps, but
    at least one. With ``label-flip`` a hostile client learns class K - 1 - y for y.
    """
    if config.straggle:
        block = replace(block, effort=_efforts(config, server_round, block.partition_ids))
    if config.attack == "label-flip":
        labels, hostile = block.labels.clone(), attackers(config)
        for rows, partition_id in zip(block.rows, block.partition_ids, strict=True):
            if partition_id in hostile:
                labels[rows] = block.classes - 1 - labels[rows]
        block = replace(block, labels=labels)
    return block


def labels_learnt(config: RunConfig, data: ClientData) -> NDArray[np.int64]:
    """Return the labels of a client's training rows as it learns them, shape ``(n,)``."""
    labels: NDArray[np.int64] = data.labels.numpy()[data.train]
    if config.attack == "label-flip" and data.partition_id in attackers(config):
        return data.classes - 1 - labels
    return labels


def _efforts(
    config: RunConfig, server_round: int, partition_ids: Sequence[int]
) -> NDArray[np.float64]:
    draws = np.array(
        [generator(config.seed, "straggle", server_round, one).random(2) for one in partition_ids]
    )
    return np.where(draws[:, 0] < config.straggle, draws[:, 1], 1.0)


def falsified(
    config: RunConfig,
    server_round: int,
    partition_id: int,
    head: Arrays,
    trained: Trained,
) -> Trained:
    """Return what a hostile client sends for what it found.

    With x what it found, w the head it was sent (nought where x is no head), Δ = x - w and
    s = ``attack-strength``, ``sign-flip`` sends w - s Δ, ``scale`` w + s Δ, and ``noise``
    w + s r z, where z is standard normal and r the root mean square of Δ. With ``label-flip`` it
    sends what it found.
    """
    if config.attack == "label-flip":
        return trained
    rng = generator(config.seed, "attack", server_round, partition_id)
    sent: Arrays = {}
    for name, found in trained.arrays.items():
        start = head[name] if name in head else np.zeros_like(found)
        change = found - start
        if config.attack == "noise":
            size = np.sqrt(np.square(change).mean())
            change = size * rng.standard_normal(found.shape).astype(found.dtype)
        sign = -1 if config.attack == "sign-flip" else 1
        sent[name] = np.asarray(start + sign * config.attack_strength * change, dtype=found.dtype)
    return replace(trained, arrays=sent)
