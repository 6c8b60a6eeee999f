"""FedPer: clients share the lower layers and keep the last for themselves.

Arivazhagan, Aggarwal, Singh & Choudhary, "Federated Learning with Personalization Layers", 2019
(arXiv 1912.00818), algorithms 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, MLPHead, Tensors
from strategies.base import AloneHead, Arrays, Received, Reply, State, heads_of
from strategies.base.averaging import as_head, weighted_mean
from strategies.fedavg import FedAvg

_OWN = "output."


class FedPer(FedAvg):
    """w_B ← Σₖ (nₖ / n) w_B,k, where client k took local epochs of SGD from (w_B, w_P,k).

    w_B is the head's hidden layer, which all share. w_P,k, its last layer, stays at client k; it
    begins as the initial head's, which is all that the server ever has of one.
    """

    own_heads = True
    global_head = False

    def __init__(self, config: RunConfig, head: Head) -> None:
        if not isinstance(head, MLPHead):
            raise UsageError(
                f"strategy = {config.strategy!r} shares all layers but the last, and with a frozen "
                f"backbone head = {config.head!r} has no other, so it would be training without "
                "federation: use head = 'mlp', or strategy = 'local'."
            )
        super().__init__(config, head)

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the example-weighted mean of the hidden layers, below the initial last layer."""
        mean = weighted_mean(replies)
        return None if mean is None else {**head, **as_head(mean)}

    # --- the client half ----------------------------------------------------------------------

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of w_B."""
        return {n: shape for n, shape in self.head.shapes.items() if not n.startswith(_OWN)}

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of w_P,k."""
        return {n: shape for n, shape in self.head.shapes.items() if n.startswith(_OWN)}

    def initial_memory(self, head: Tensors) -> Tensors:
        """Return the last layer that was sent."""
        return {name: head[name].clone() for name in self.memory}

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from (w_B, w_P,k), at rest."""
        whole = self.scored(received)
        return {
            "parameters": {name: value.clone() for name, value in whole.items()},
            "velocity": {name: torch.zeros_like(value) for name, value in whole.items()},
        }

    def client_final(self, state: State) -> Tensors:
        """Return w_B,k."""
        return {name: state["parameters"][name] for name in self.uplink}

    def client_memory(self, state: State) -> Tensors:
        """Return w_P,k."""
        return {name: state["parameters"][name] for name in self.memory}

    def scored(self, received: Received) -> Tensors:
        """Return (w_B, w_P,k)."""
        return {**received.head, **received.memory}

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return (w_B, w_P,k)."""
        return heads_of(block, self.scored(received))


STRATEGY = FedPer
