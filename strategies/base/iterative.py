"""Strategies whose clients take gradient steps from the head that they are sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from fedtl.kinds import ZERO_SHOT
from fedtl.options import Range
from fedtl.transfer.client_block import ClientBlock, takes_below
from fedtl.transfer.heads import Tensors, kept_back
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base.coordinates import in_standardised
from strategies.base.halves import AloneHead, Arrays, Reply, heads_of
from strategies.base.head_strategy import HeadStrategy
from strategies.base.local_steps import LocalSteps, PlainSGD
from strategies.base.search import Search


class IterativeStrategy(LocalSteps, HeadStrategy):
    """A strategy whose clients take gradient steps from the head they are sent.

    The client half is :class:`LocalSteps`; a strategy overrides what of it differs.
    """

    search: ClassVar[Search] = {"learning-rate": Range(1e-3, 1.0)}

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`HeadStrategy`: by default, the head's own parameters."""
        shapes = self.head.shapes
        return {name: shape for name, shape in shapes.items() if name not in kept_back(self.head)}

    @property
    def alone_key(self) -> Hashable:
        """See :class:`HeadStrategy`: local SGD is the same under all iterative strategies."""
        if type(self).train_alone is not IterativeStrategy.train_alone:
            return super().alone_key
        config = self.config
        return (
            self.head,
            config.head_init,
            config.seed,
            config.most_rounds,
            config.epochs,
            config.batch_size,
            config.learning_rate,
            config.momentum,
            config.weight_decay,
            self.starter and (self.starter.alone_key, self.starter.start_temperature),
            config.init == ZERO_SHOT and (config.prompt, config.init_temperature),
        )

    @property
    def shuffles_stack(self) -> bool:
        """Whether clients that train by themselves may each have a seed within one block."""
        return type(self).train_alone is IterativeStrategy.train_alone and self.starter is None

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Run local SGD for as many epochs as the federation takes, on each client's own data only.

        It is the same for every iterative strategy: without other clients, there is nothing to
        correct for. Where the federation starts from a closed form, so does every client, from its
        own; where it starts from the classes' names, from the same.
        """
        own = [
            Standardisation.from_moments(Moments.of(block.features, rows)) for rows in block.rows
        ]
        if takes_below(self.head):
            own = [one.of_trained_blocks() for one in own]
        heads = self._initial_alone(block, own)
        block = block.standardised(own)
        alone = PlainSGD(self.config, self.head)
        for server_round in range(1, self.config.most_rounds + 1):
            heads = alone.trained(block, heads, server_round)
        return heads_of(block, heads)

    def _initial_alone(self, block: ClientBlock, own: Sequence[Standardisation]) -> Tensors:
        """Return the heads that clients start from by themselves."""
        if self.starter is not None:
            alone = self.starter.train_alone(block)
            temperature = self.starter.start_temperature
            starts = [
                in_standardised(one.arrays, standardisation, temperature)
                for one, standardisation in zip(alone, own, strict=True)
            ]
        elif self.config.init == ZERO_SHOT:
            starts = [self.named_start(standardisation) for standardisation in own]
        else:
            seeds = block.seeds or [self.config.seed]
            initial = [self.head.initial(self.config.head_init, seed) for seed in seeds]
            return {
                name: torch.from_numpy(np.stack([one[name] for one in initial])).expand(
                    len(block), *shape
                )
                for name, shape in self.head.shapes.items()
            }
        # What the closed form does not say, such as blocks of the backbone, is as it is at first.
        first: Arrays = dict(self.head.initial(self.config.head_init, self.config.seed))
        return {
            name: torch.from_numpy(np.stack([(first | start)[name] for start in starts]))
            for name in self.head.shapes
        }


class LocalSGD(IterativeStrategy):
    """The client half as it stands, with no server."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Leave the head as it is."""
        return head
