"""A Flower grid without a network: a test says what each node answers, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from fedtl.engine.flower_internals import assume_server_identity, number

Answer = Callable[[Message], Message | None]


class ScriptedGrid(Grid):
    """Delivers messages to functions.

    Args:
        answer: The reply to a message; ``None`` where the node never answers.
        nodes: What ``get_node_ids`` returns at each call; the last stays.
        arrival: Places of the sent messages in the order in which their replies come in.
    """

    def __init__(
        self, answer: Answer, nodes: Sequence[Sequence[int]] = ((),), arrival: Sequence[int] = ()
    ) -> None:
        assume_server_identity()
        self._answer, self._nodes, self._arrival = answer, list(nodes), arrival
        self._serial = count(1)
        self.sent: list[Message] = []
        self.asked = 0

    def get_node_ids(self) -> Iterable[int]:
        return self._nodes.pop(0) if len(self._nodes) > 1 else self._nodes[0]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        self.sent = list(messages)
        number(self.sent, self._serial)
        return self._replies()

    def _replies(self) -> Iterator[Message]:
        for place in self._arrival or range(len(self.sent)):
            self.asked += 1
            reply = self._answer(self.sent[place])
            if reply is not None:
                yield reply

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError
