"""The one door of a client: every reply is made here, and content leaves only by :func:`released`.

What may leave is decided by :mod:`fedtl.privacy.egress`, from what the strategy declares.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Error, Message, RecordDict

from fedtl.privacy.egress import Declaration, release

Check = Callable[[RecordDict, RecordDict], None]
"""Takes a reply and what it replies to; raises :class:`EgressError` on a contradiction."""


def released(
    message: Message, content: RecordDict, *, declared: Declaration, check: Check
) -> Message:
    """Return the reply to a message that carries ``content``.

    Raises:
        EgressError: It is not as declared, or contradicts itself; it must not leave.
    """
    release(content, declared)
    check(content, message.content)
    return Message(content, reply_to=message)


def without_content(message: Message, code: int, reason: str) -> Message:
    """Return the reply to a message that carries a code and a sentence, and nothing else."""
    return Message(Error(code, reason), reply_to=message)
