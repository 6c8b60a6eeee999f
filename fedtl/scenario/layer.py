"""The layer that a simulation adds to its clients: see :class:`fedtl.client.layer.Layer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.client.layer import Layer
from fedtl.config import RunConfig
from fedtl.scenario.adversity import (
    attackers,
    before_training,
    drops_out,
    falsified,
    labels_learnt,
)
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Tensors
from strategies.base import Trained


@dataclass(frozen=True)
class Scenario(Layer):
    """What a run's configuration lets go wrong at its simulated clients."""

    config: RunConfig

    def absent(self, server_round: int, partition_id: int) -> str:
        """Return why a client that drops out does not train."""
        if not drops_out(self.config, server_round, partition_id):
            return ""
        return f"dropped out (dropout = {self.config.dropout:g})"

    def before_training(self, server_round: int, block: ClientBlock) -> ClientBlock:
        """See :func:`fedtl.scenario.adversity.before_training`."""
        return before_training(self.config, server_round, block)

    def labels_learnt(self, data: ClientData) -> NDArray[np.int64]:
        """See :func:`fedtl.scenario.adversity.labels_learnt`."""
        return labels_learnt(self.config, data)

    def as_sent(
        self,
        server_round: int,
        partition_ids: Sequence[int],
        head: Tensors,
        trained: Sequence[Trained],
    ) -> Sequence[Trained]:
        """Return what clients send: hostile ones something else than they found."""
        sent, hostile = list(trained), attackers(self.config)
        for at, partition_id in enumerate(partition_ids):
            if partition_id in hostile:
                own = {name: value[at].numpy() for name, value in head.items()}
                sent[at] = falsified(self.config, server_round, partition_id, own, sent[at])
        return sent
