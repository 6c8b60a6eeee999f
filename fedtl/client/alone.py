"""The heads that clients, and all data in one place, give without a federation: found once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.lone_head import best_lone_head
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, HeadStrategy

LoneHeads = Callable[[RunConfig, Sequence[ClientData], bool], list[AloneHead]]
"""Returns the best head that each client's training rows give by themselves.

The flag asks for its outputs on each of those rows without that row, too.
"""

TrainAlone = Callable[[HeadStrategy, ClientBlock], list[AloneHead]]
"""Returns each client's local-only head, by the strategy's own method, for a block."""


def lone_heads(
    config: RunConfig, clients: Sequence[ClientData], leave_out: bool = False
) -> list[AloneHead]:
    """Solve them; a :data:`LoneHeads`. It is the same whatever the strategy."""
    heads = []
    for data in clients:
        rows = torch.from_numpy(data.train)
        width = data.features.shape[1]
        found = best_lone_head(
            data.features[rows],
            data.labels[rows],
            data.classes,
            None if data.groups is None else data.groups[data.train],
            generator(config.seed, "folds", data.partition_id),
            leave_out=leave_out,
        )
        arrays = {"weight": found.weight, "bias": found.bias}
        form = LinearHead(width, data.classes)
        identity = Standardisation.identity(width)
        heads.append(AloneHead(dict(arrays), identity, form, found.method, found.left_out))
    return heads


class LoneHeadsOnce:
    """A :data:`LoneHeads` for many runs over the same clients and data."""

    def __init__(self) -> None:
        self._heads: dict[Hashable, list[AloneHead]] = {}

    def __call__(
        self, config: RunConfig, clients: Sequence[ClientData], leave_out: bool = False
    ) -> list[AloneHead]:
        """Return the heads, if those of these clients were solved before."""
        key = (config.seed, leave_out, tuple(data.partition_id for data in clients))
        if key not in self._heads:
            self._heads[key] = lone_heads(config, clients, leave_out)
        return self._heads[key]


def train_alone(strategy: HeadStrategy, block: ClientBlock) -> list[AloneHead]:
    """Have the strategy train them; a :data:`TrainAlone`."""
    return strategy.train_alone(block)


class TrainAloneOnce:
    """A :data:`TrainAlone` for many strategies over the same clients and data."""

    def __init__(self) -> None:
        self._heads: dict[Hashable, list[AloneHead]] = {}

    def __call__(self, strategy: HeadStrategy, block: ClientBlock) -> list[AloneHead]:
        """Return heads trained before, if the strategy says that it would train the same."""
        key = (strategy.alone_key, tuple(block.partition_ids), tuple(block.seeds or ()))
        if key not in self._heads:
            self._heads[key] = strategy.train_alone(block)
        return self._heads[key]
