"""Who trains lone heads: each strategy for itself, or once for all that would train the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from fedtl.transfer.client_block import ClientBlock
from strategies.base import AloneHead, HeadStrategy

TrainAlone = Callable[[HeadStrategy, ClientBlock], list[AloneHead]]
"""Returns the head each client of a block would get by itself, by the strategy's own method."""


def train_alone(strategy: HeadStrategy, block: ClientBlock) -> list[AloneHead]:
    """Have the strategy train them; a :data:`TrainAlone`."""
    return strategy.train_alone(block)


class TrainAloneOnce:
    """A :data:`TrainAlone` for many strategies over the same clients and data."""

    def __init__(self) -> None:
        self._heads: dict[Hashable, list[AloneHead]] = {}

    def __call__(self, strategy: HeadStrategy, block: ClientBlock) -> list[AloneHead]:
        """Return heads trained before, where the strategy says that it would train the same."""
        key = (strategy.alone_key, tuple(block.partition_ids))
        if key not in self._heads:
            self._heads[key] = strategy.train_alone(block)
        return self._heads[key]
