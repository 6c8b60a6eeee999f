"""The few places where we need parts of Flower that are not public.

Written against Flower 1.41 (pyproject pins the minor version); everything else uses its public API.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedtl.errors import FedtlError
from fedtl.fault import Fault

RUN_ID = 1
SERVER_NODE_ID = 1


def assume_server_identity() -> None:
    """Let this process create instruction messages, as Flower does for a server app."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE_ID


def number(messages: Iterable[Message], serial: count[int]) -> None:
    """Give every message an id, as Flower's grids do when they push it."""
    for message in messages:
        message.metadata.__dict__["_message_id"] = str(next(serial))


def empty_run() -> Run:
    """Return the description of a run that belongs to this process only."""
    return Run.create_empty(RUN_ID)


def client_failed(message: Message, reason: str) -> Message:
    """Return the reply of a client that raised, stalled or died, in Flower's form."""
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def client_raised(message: Message, error: Exception) -> Message:
    """Return the reply of a simulated client that raised unexpectedly, with the whole fault."""
    if isinstance(error, FedtlError):
        return client_failed(message, f"{type(error).__name__}: {error}")
    return client_failed(message, Fault.of(error).text)


def is_simulation(grid: Grid) -> bool:
    """Return whether a server app's grid is that of Flower's simulation, where all data is local.

    Any other grid is taken for real sites.
    """
    # It takes a second to import, which no client's process has to spare.
    from flwr.superlink.grid.inmemory_grid import InMemoryGrid

    return isinstance(grid, InMemoryGrid)
