"""Replies of clients that are made up, and a FedAvg that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedtl.config import RunConfig
from fedtl.transfer.heads import build_head
from strategies.base import Reply
from strategies.fedavg import FedAvg

FEATURES, CLASSES, HIDDEN = 7, 3, 5


def fedavg(**settings: Any) -> FedAvg:
    config = RunConfig(**{"learning_rate": 0.1, "batch_size": 16, **settings})
    head = build_head(
        config.head, features=FEATURES, classes=CLASSES, hidden_units=HIDDEN, cosine_scale=8.0
    )
    return FedAvg(config, head)


def random_replies(clients: int, seed: int = 0) -> list[Reply]:
    draws = np.random.default_rng(seed)
    return [
        Reply(
            int(draws.integers(1, 5_000)),
            {
                "weight": draws.standard_normal((CLASSES, FEATURES)).astype(np.float32),
                "bias": draws.standard_normal(CLASSES).astype(np.float32),
            },
        )
        for _ in range(clients)
    ]
