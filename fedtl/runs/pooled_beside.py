"""The centralised reference, found in a thread while the federation runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

import strategies
from fedtl.client.alone import LoneHeadsOnce, TrainAloneOnce
from fedtl.config import RunConfig
from fedtl.federation.zero_shot import give_texts
from fedtl.results.centralised import Centralised
from fedtl.runs.reference import (
    centralised_reference,
    solved_of_all,
    stacks_shuffles,
    trained_of_all,
)
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.heads import head_of
from fedtl.transfer.text_tower import ClassTexts
from strategies.base import ClosedFormStrategy, HeadStrategy

# Rows in float64 that may lie in memory beside the federation; more wait until it is over.
_BYTES = 2**28


class PooledBeside:
    """The centralised reference: most of it does not depend on the federation.

    Its matrix products leave Python to the federation's own thread, and the result does not depend
    on when it is computed.

    Args:
        config: The run's.
        clients: All of them.
        texts: What the classes' names make, if the run asks for it.
    """

    def __init__(
        self, config: RunConfig, clients: Sequence[ClientData], texts: ClassTexts | None = None
    ) -> None:
        self._texts = texts
        self._clients = clients
        self._lone_heads, self._train_alone = LoneHeadsOnce(), TrainAloneOnce()
        self._found: Future[None] | None = None
        width = clients[0].features.shape[1]
        size = 8 * width * sum(len(client.train) for client in clients)
        # Else it waits: a debugger wants one thread, and errors where they happen.
        if size <= _BYTES and config.catches:
            thread = ThreadPoolExecutor(1, thread_name_prefix="centralised")
            self._found = thread.submit(self._find, config, torch.get_num_threads())
            thread.shutdown(wait=False)

    def _find(self, config: RunConfig, threads: int) -> None:
        clients = self._clients
        # What a new thread takes over may be for one thread, where heads are being computed.
        torch.set_num_threads(threads)
        head = head_of(config, features=clients[0].features.shape[1], classes=clients[0].classes)
        strategy = strategies.build(config, head)
        give_texts(strategy, self._texts)
        leave_out = isinstance(strategy, ClosedFormStrategy) and strategy.leaves_out
        solved_of_all(config, clients, self._lone_heads, leave_out=leave_out)
        # What the federation itself may still change, such as a penalty, is trained with later.
        if stacks_shuffles(strategy):
            trained_of_all(strategy, clients, self._train_alone)

    def reference(self, strategy: HeadStrategy) -> Centralised:
        """Return :func:`centralised_reference` of the strategy after the federation."""
        if self._found is not None:
            self._found.result()
        return centralised_reference(strategy, self._clients, self._lone_heads, self._train_alone)
