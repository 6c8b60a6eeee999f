"""Limits on the time and size of one message at a site, whatever the server asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict

from fedtl.privacy.egress import weigh

Answer = Callable[[Message, Context], Message]


def size_of(content: RecordDict) -> int:
    """Return the bytes of a message's values, as the ledger counts them."""
    return sum(size for _, _, size in weigh(content))


def answer_within(
    seconds: float | None, answer: Answer, message: Message, context: Context
) -> Message | None:
    """Return an answer, or ``None`` if there is none after so many seconds.

    A late answer is dropped: only an answer that came in time changes the context. The
    work itself ends with the process, which Flower starts again for every message.

    Args:
        seconds: ``None`` waits without a limit.
        answer: Answers a message, and may change the context's state.
        message: What is asked.
        context: The client's.

    Raises:
        BaseException: Whatever ``answer`` raises.
    """
    if seconds is None:
        return answer(message, context)
    own = Context(
        run_id=context.run_id,
        node_id=context.node_id,
        node_config=context.node_config,
        state=RecordDict(dict(context.state)),
        run_config=context.run_config,
    )
    came: list[Message] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            came.append(answer(message, own))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="answer", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return None
    if raised:
        raise raised[0]
    context.state = own.state
    return came[0]
