"""The place for a layer between what a client is asked and what it does.

A site has no such layer. A simulation puts a scenario there; the code of a client does not know
which, and imports none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Tensors
from strategies.base import Trained


class Layer:
    """What changes how clients train, and what they send; by itself it changes nothing."""

    def absent(self, server_round: int, partition_id: int) -> str:
        """Return why a client does not train in a round; empty if it does."""
        return ""

    def before_training(self, server_round: int, block: ClientBlock) -> ClientBlock:
        """Return the clients' rows as they train on them."""
        return block

    def labels_learnt(self, data: ClientData) -> NDArray[np.int64]:
        """Return the labels that a client learns for its training rows, shape ``(n,)``."""
        labels: NDArray[np.int64] = data.labels.numpy()[data.train]
        return labels

    def as_sent(
        self,
        server_round: int,
        partition_ids: Sequence[int],
        head: Tensors,
        trained: Sequence[Trained],
    ) -> Sequence[Trained]:
        """Return what clients send for what they found.

        Args:
            server_round: The round.
            partition_ids: Of C clients.
            head: The heads that they were sent, each ``(C, *shape)``; empty if they were sent none.
            trained: What each of them found.
        """
        return trained
