"""Clients that learn a whole head of their own beside the global one, and keep it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from strategies.base.halves import Received
from strategies.base.iterative import IterativeStrategy
from strategies.base.local_steps import State


class OwnHead(IterativeStrategy):
    """A strategy whose client k keeps a head vₖ, which never leaves it.

    vₖ begins at the global head that client k receives first, and steps with a momentum of its own
    that begins anew every round. It is the group ``own`` of the clients' state, and its velocity is
    ``own-velocity``.
    """

    own_heads = True

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of vₖ."""
        return self.head.shapes

    def initial_memory(self, head: Tensors) -> Tensors:
        """Return the head that was sent."""
        return {name: value.clone() for name, value in head.items()}

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from the global head and from vₖ."""
        return {
            **super().client_init(received, block),
            "own": received.memory,
            "own-velocity": {name: torch.zeros_like(w) for name, w in received.head.items()},
        }

    def client_memory(self, state: State) -> Tensors:
        """Return vₖ."""
        return state["own"]
