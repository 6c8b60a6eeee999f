"""What a scenario lets go wrong at clients: some drop out, some are slow, some are hostile.

Each client finds out for itself, from the configuration, the round and its own partition id, so
that it is the same in every way to run. A federation of real sites leaves these keys at their
defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from fedtl.attacks.base import Attack
from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.kinds import KINDS
from fedtl.transfer.client_block import ClientBlock, ClientData
from strategies.base import Arrays, Trained


def drops_out(config: RunConfig, server_round: int, partition_id: int) -> bool:
    """Return whether a client drops out of a round: with probability ``dropout``."""
    if not config.dropout:
        return False
    draw = generator(config.seed, "dropout", server_round, partition_id).random()
    return bool(draw < config.dropout)


def attackers(config: RunConfig) -> frozenset[int]:
    """Return the partition ids of the hostile clients: ``attackers`` of all, to the nearest."""
    attack = _attack(config)
    if attack is None:
        return frozenset()
    return _drawn(config.seed, config.clients, round(attack.options.attackers * config.clients))


def _attack(config: RunConfig) -> Attack | None:
    if config.attack == "none":
        return None
    return cast(type[Attack], KINDS["attack"].load(config.attack))(config)


@lru_cache(maxsize=16)
def _drawn(seed: int, clients: int, count: int) -> frozenset[int]:
    drawn = generator(seed, "attackers").choice(clients, count, replace=False)
    return frozenset(drawn.tolist())


def before_training(config: RunConfig, server_round: int, block: ClientBlock) -> ClientBlock:
    """Return the block as it trains: stragglers with less time, some with false labels.

    A straggler, with probability ``straggle``, does a uniformly drawn part of its local steps, but
    at least one.
    """
    if config.straggle:
        block = replace(block, effort=_efforts(config, server_round, block.partition_ids))
    attack = _attack(config)
    if attack is not None:
        labels, hostile = block.labels.clone(), attackers(config)
        for rows, partition_id in zip(block.rows, block.partition_ids, strict=True):
            if partition_id in hostile:
                learnt = attack.labels(labels[rows].numpy(), block.classes)
                labels[rows] = torch.from_numpy(np.asarray(learnt, np.int64))
        block = replace(block, labels=labels)
    return block


def labels_learnt(config: RunConfig, data: ClientData) -> NDArray[np.int64]:
    """Return the labels of a client's training rows as it learns them, shape ``(n,)``."""
    labels: NDArray[np.int64] = data.labels.numpy()[data.train]
    attack = _attack(config)
    if attack is not None and data.partition_id in attackers(config):
        return np.asarray(attack.labels(labels, data.classes), np.int64)
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
    """Return what a hostile client sends for what it found; see :meth:`Attack.sent`."""
    attack = _attack(config)
    if attack is None:
        return trained
    rng = generator(config.seed, "attack", server_round, partition_id)
    start = {name: head.get(name, np.zeros_like(x)) for name, x in trained.arrays.items()}
    return replace(trained, arrays=attack.sent(trained.arrays, start, rng))
