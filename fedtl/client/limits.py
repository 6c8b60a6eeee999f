"""How long and how much: what one message may cost a site, whatever the server asks for."""

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

    What comes too late is forgotten: the context changes only by an answer that came in time. The
    work itself ends with the process, which Flower starts anew for every message.

    Args:
        seconds: ``None`` waits for as long as it takes.
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
