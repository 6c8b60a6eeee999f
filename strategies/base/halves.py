"""What passes between a strategy's two halves, and what a client keeps for itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.standardisation import Standardisation

Arrays = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Received:
    """What clients start a round from; every tensor has a leading client axis.

    Attributes:
        head: The global head.
        server: What else the server sent: the arrays that ``downlink`` names.
        memory: What each client kept from its last round: the arrays that ``memory`` names.
    """

    head: Tensors
    server: Tensors = field(default_factory=dict)
    memory: Tensors = field(default_factory=dict)

    def select(self, clients: NDArray[np.int64]) -> Received:
        """Return the same for these clients, in this order."""
        here = torch.from_numpy(clients)
        head, server, memory = (
            {name: value[here] for name, value in tensors.items()}
            for tensors in (self.head, self.server, self.memory)
        )
        return Received(head, server, memory)


@dataclass(frozen=True)
class Reply:
    """What one client sent back, in partition-id order among its like.

    Attributes:
        examples: Training examples behind it, Flower's ``num-examples``.
        arrays: The arrays or statistics that the client half returned.
        client: Its place among all clients, in partition-id order.
    """

    examples: int
    arrays: Arrays
    client: int = 0


@dataclass(frozen=True)
class Trained:
    """What one client's training gives.

    Attributes:
        arrays: To send: what ``uplink`` names.
        loss: Mean loss on the way, in nats.
        memory: To keep: what ``memory`` names.
    """

    arrays: Arrays
    loss: float
    memory: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class AloneHead:
    """A head that only one client has, and the features it expects.

    Attributes:
        arrays: Its parameters.
        standardisation: Of the features it expects.
        form: Its form; ``None`` if that is the run's.
        method: What it was solved by; empty if it was trained as the run's.
        left_out: What it says of the client's training rows, each left out of it, shape
            ``(n, K)``, float64; ``None`` if that was not asked for.
    """

    arrays: Arrays
    standardisation: Standardisation
    form: Head | None = None
    method: str = ""
    left_out: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Some of one client's rows.

    Attributes:
        features: As they are, shape ``(n, d)``, float64.
        labels: Shape ``(n,)``, int64.
        groups: Which of them belong together, shape ``(n,)``; ``None`` if each stands for itself.
    """

    features: Tensor
    labels: Tensor
    groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, data: ClientData, rows: NDArray[np.int64]) -> LabelledRows:
        """Return these rows of a client's matrix."""
        here = torch.from_numpy(rows)
        groups = None if data.groups is None else data.groups[rows]
        return cls(data.features[here].double(), data.labels[here], groups)


def heads_of(block: ClientBlock, parameters: Tensors) -> list[AloneHead]:
    """Return each client's own head, on features standardised as the block's.

    Args:
        block: C clients.
        parameters: Each ``(C, *shape)``.
    """
    return [
        AloneHead(
            {name: value[client].numpy() for name, value in parameters.items()},
            block.standardisation_of(client),
        )
        for client in range(len(block))
    ]
