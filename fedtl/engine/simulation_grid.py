"""What our two grids share: simulated nodes, message ids, replies in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedtl.engine.block_app import node_id_of
from fedtl.engine.flower_internals import assume_server_identity, empty_run, number


class SimulationGrid(Grid):
    """A grid whose nodes are simulated on this machine or Ray cluster.

    Args:
        clients: Number of clients; their node ids are 2 … clients+1, in partition-id order.
    """

    def __init__(self, clients: int) -> None:
        assume_server_identity()
        self.clients = clients
        self._serial = count(1)
        self._run = empty_run()
        self._answered: dict[str, Message] = {}

    @abstractmethod
    def _answers(self, messages: Sequence[Message]) -> Iterator[Message]:
        """Yield the reply to each message, in order."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Deliver ``messages`` and yield one reply to each, by rising node id.

        Replies are yielded as they come in, so that they need not all be held at once. ``timeout``
        is not used: a client's own time limit is the engine's.
        """
        ordered = sorted(messages, key=lambda message: message.metadata.dst_node_id)
        number(ordered, self._serial)
        return self._answers(ordered)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids in partition-id order."""
        return [node_id_of(partition_id) for partition_id in range(self.clients)]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver ``messages`` and keep the replies for :meth:`pull_messages`."""
        pushed = list(messages)
        for reply in self.send_and_receive(pushed):
            self._answered[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return, once, the replies to messages pushed before."""
        return [self._answered.pop(name) for name in message_ids if name in self._answered]

    def set_run(self, run: Any) -> None:
        """See :class:`flwr.serverapp.Grid`."""
        self._run = run

    @property
    def run(self) -> Any:
        """See :class:`flwr.serverapp.Grid`."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See :class:`flwr.serverapp.Grid`."""
        return Message(
            content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl
        )

    @abstractmethod
    def states(self) -> Mapping[int, RecordDict]:
        """Return what clients remember in their contexts, by node id, where that is anything."""

    @abstractmethod
    def restore(self, states: Mapping[int, RecordDict]) -> None:
        """Have clients, by node id, remember this; the others nothing."""

    def close(self) -> None:
        """Free everything that the grid holds."""
