"""What a client remembers between rounds: arrays in Flower's ``Context.state``, at the site.

At a real site Flower keeps that state. In a simulation the engine does, and a checkpoint holds it
beside the server's, so that a resumed run goes on as if it had not been cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from flwr.app import Context, RecordDict
from numpy.typing import NDArray

from fedtl.records import array_record, from_record, to_record
from fedtl.transfer.heads import Tensors
from strategies.base import HeadStrategy

Memories = dict[int, dict[str, NDArray[np.floating]]]
"""What each client remembers, by partition id; clients that remember nothing are absent."""

_RECORD = "fedtl-memory"


class SimulatedStates(Protocol):
    """An engine that holds its clients' states."""

    def states(self) -> Mapping[int, RecordDict]:
        """Return the states that are not empty, by node id."""
        ...

    def restore(self, states: Mapping[int, RecordDict]) -> None:
        """Give clients these states."""
        ...


def recall(contexts: Sequence[Context], strategy: HeadStrategy, head: Tensors) -> Tensors:
    """Return what the clients remember, each ``(C, *shape)``; new ones as the strategy begins."""
    if not strategy.memory:
        return {}
    memory = strategy.initial_memory(head)
    for client, context in enumerate(contexts):
        if _RECORD in context.state:
            for name, value in from_record(array_record(context.state, _RECORD)).items():
                memory[name][client] = torch.from_numpy(value.copy())
    return memory


def remember(context: Context, memory: Mapping[str, NDArray[np.floating]]) -> None:
    """Keep a client's memory; nothing is kept where there is none."""
    if memory:
        context.state[_RECORD] = to_record(memory)


def memories_of(states: Mapping[int, RecordDict], partitions: Mapping[int, int]) -> Memories:
    """Return what clients remember, given their states and partition ids by node id."""
    return {
        partitions[node]: from_record(array_record(state, _RECORD))
        for node, state in states.items()
        if _RECORD in state and node in partitions
    }


def states_of(memories: Memories, partitions: Mapping[int, int]) -> dict[int, RecordDict]:
    """Return the states in which clients remember this: the inverse of :func:`memories_of`."""
    return {
        node: RecordDict({_RECORD: to_record(memories[partition])})
        for node, partition in partitions.items()
        if partition in memories
    }
