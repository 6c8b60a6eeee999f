"""A Ray actor that holds clients: their contexts, and one function that answers for all of them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence

from flwr.app import Context, Message, RecordDict

from fedtl.collector import collect_seldom, collector_paused
from fedtl.engine.block_app import BlockApp, context_of
from fedtl.engine.inline_grid import answer_block

MakeApp = Callable[[], BlockApp]


class ClientActor:
    """Answers blocks of messages; Ray keeps one of these per process for the whole run.

    What its clients remember is returned with every reply, so that an actor that dies can be
    replaced.

    Args:
        import_path: Where the starting process searches for modules.
    """

    def __init__(self, import_path: Sequence[str]) -> None:
        collect_seldom()
        # A user's own strategy is found where the process that started us finds it.
        sys.path.extend(folder for folder in import_path if folder not in sys.path)
        # Imported while data is still being prepared elsewhere: this is most of an actor's start.
        import torch

        import fedtl.engine.fedtl_clients  # noqa: F401

        torch.set_num_threads(1)
        self._app: BlockApp | None = None
        self._contexts: dict[int, Context] = {}
        self._clients = 0
        self._run_config: dict[str, str | int | float | bool] = {}

    def open(
        self,
        make_app: MakeApp,
        clients: int,
        run_config: dict[str, str | int | float | bool],
        states: bytes,
    ) -> None:
        """Receive the clients' app, and what clients of a lost actor remembered."""
        self._app, self._clients, self._run_config = make_app(), clients, run_config
        self._contexts = {}
        for node, state in pickle.loads(states).items():
            self._context(node).state = state

    def answer(self, blob: bytes) -> bytes:
        """Return the pickled replies to pickled messages, and the states that are not empty."""
        assert self._app is not None, "call open first"
        with collector_paused():
            return self._answered(self._app, pickle.loads(blob))

    def _answered(self, app: BlockApp, messages: Sequence[Message]) -> bytes:
        nodes = [message.metadata.dst_node_id for message in messages]
        contexts = [self._context(node) for node in nodes]
        replies = answer_block(app, messages, contexts)
        states: dict[int, RecordDict] = {
            node: context.state
            for node, context in zip(nodes, contexts, strict=True)
            if context.state
        }
        return pickle.dumps((replies, states), protocol=pickle.HIGHEST_PROTOCOL)

    def _context(self, node: int) -> Context:
        if node not in self._contexts:
            self._contexts[node] = context_of(node, self._clients, self._run_config)
        return self._contexts[node]
