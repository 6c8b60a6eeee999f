"""All clients in the calling process: for debugging, and as a reference for Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flwr.app import Context, Message, RecordDict

from fedtl.engine.block_app import BlockApp, context_of
from fedtl.engine.flower_internals import client_raised
from fedtl.engine.simulation_grid import SimulationGrid
from fedtl.errors import FedtlError
from fedtl.unforeseen import let_through


class InlineGrid(SimulationGrid):
    """Runs clients in this process, a block at a time.

    Args:
        clients: Number of clients.
        app: What runs them.
        run_config: Flower's run config, given to every client.
        block: Clients answered at a time.
        caught: Whether what a client raises costs only that client, or ends the run; then ``block``
            is 1.
    """

    def __init__(
        self,
        clients: int,
        app: BlockApp,
        run_config: Mapping[str, str | int | float | bool],
        *,
        block: int,
        caught: bool = True,
    ) -> None:
        super().__init__(clients)
        self._answer = answer_block if caught else _answer_uncaught
        self._app, self._run_config, self._block = app, dict(run_config), block
        self._contexts: dict[int, Context] = {}

    def _answers(self, messages: Sequence[Message]) -> Iterator[Message]:
        for start in range(0, len(messages), self._block):
            part = messages[start : start + self._block]
            contexts = [self._context(message.metadata.dst_node_id) for message in part]
            yield from self._answer(self._app, part, contexts)

    def states(self) -> Mapping[int, RecordDict]:
        """See :class:`SimulationGrid`."""
        return {node: context.state for node, context in self._contexts.items() if context.state}

    def restore(self, states: Mapping[int, RecordDict]) -> None:
        """See :class:`SimulationGrid`."""
        self._contexts = {}
        for node, state in states.items():
            self._context(node).state = state

    def _context(self, node: int) -> Context:
        if node not in self._contexts:
            self._contexts[node] = context_of(node, self.clients, self._run_config)
        return self._contexts[node]


def _answer_uncaught(
    app: BlockApp, messages: Sequence[Message], contexts: Sequence[Context]
) -> list[Message]:
    """Return the reply of one client; an unexpected error is marked as the client's."""
    try:
        return app(messages, contexts)
    except FedtlError as error:
        return [client_raised(messages[0], error)]
    except Exception as error:
        let_through(error)
        raise


def answer_block(
    app: BlockApp, messages: Sequence[Message], contexts: Sequence[Context]
) -> list[Message]:
    """Return the replies of a block; if it raises, ask each client separately to find the cause."""
    try:
        return app(messages, contexts)
    except Exception as error:  # a client's trouble is its own
        if len(messages) == 1:
            return [client_raised(messages[0], error)]
    replies: list[Message] = []
    for message, context in zip(messages, contexts, strict=True):
        replies += answer_block(app, [message], [context])
    return replies
