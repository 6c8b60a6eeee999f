"""What runs clients: a function from many messages and contexts to their replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedtl.engine.flower_internals import RUN_ID, client_raised

BlockApp = Callable[[Sequence[Message], Sequence[Context]], list[Message]]
"""Replies to messages, in order. If it raises, the engine asks each client separately."""

FIRST_NODE_ID = 2


def node_id_of(partition_id: int) -> int:
    """Return the node id of a simulated client; node 1 is the server."""
    return FIRST_NODE_ID + partition_id


def context_of(
    node_id: int, clients: int, run_config: dict[str, str | int | float | bool]
) -> Context:
    """Return a simulated client's context, as Flower's simulation runtime would make it.

    All clients of a process share ``run_config``: ten thousand copies of it are 50 MB.
    """
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={"partition-id": node_id - FIRST_NODE_ID, "num-partitions": clients},
        state=RecordDict(),
        run_config=run_config,
    )


@dataclass(frozen=True)
class OneByOne:
    """Any Flower ``ClientApp``, called once per message; a client that raises fails by itself."""

    client_app: ClientApp

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        """See :data:`BlockApp`."""
        return [
            _guarded(self.client_app, message, context)
            for message, context in zip(messages, contexts, strict=True)
        ]


def _guarded(app: ClientApp, message: Message, context: Context) -> Message:
    try:
        return app(message, context)
    except Exception as error:  # whatever a client app raises costs that client alone
        return client_raised(message, error)
