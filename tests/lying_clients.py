"""A federation of which one client's answers are changed on their way to the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from small_federation import Notes, small_sites

from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation

CLIENTS, CLASSES, WIDTH = 4, 3, 5
LIAR = 2

Lie = Callable[[str, RecordDict], RecordDict]
"""Returns what the liar sends in place of an honest reply to a kind of message."""


def rows(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return features, labels and the clients' rows, of unequal sizes."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum([14, 20, 11, 25])
    labels = rng.integers(0, CLASSES, ends[-1])
    labels[: 2 * CLASSES] = [0, 1, 2] * 2
    centres = rng.normal(size=(CLASSES, WIDTH))
    x = (centres[labels] + rng.normal(size=(ends[-1], WIDTH))).astype(np.float32)
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    return x, labels, parts


def federated_with(lie: Lie | None, config: RunConfig) -> tuple[Outcome, Notes]:
    """Run a federation; without a lie all are honest, and with one the liar tells it."""
    x, y, parts = rows()
    train, held_out = [part[:-4] for part in parts], [part[-4:] for part in parts]
    with small_sites(x, y, train, classes=CLASSES, held_out=held_out) as sites:
        clients = FedtlClients(config.replace(clients=CLIENTS), sites)

        def answers(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
            return [
                _lied(lie, message, context, reply)
                for message, context, reply in zip(
                    messages, contexts, clients(messages, contexts), strict=True
                )
            ]

        grid = InlineGrid(CLIENTS, answers, config.to_mapping(), block=CLIENTS)
        notes = Notes()
        federation = Federation(
            grid, config.replace(clients=CLIENTS), notes, expected=sites.identity
        )
        return federation.run(), notes


def _lied(lie: Lie | None, message: Message, context: Context, reply: Message) -> Message:
    if lie is None or context.node_config["partition-id"] != LIAR or not reply.has_content():
        return reply
    content = lie(message.metadata.message_type, copied(reply.content))
    return Message(content, reply_to=message)


def copied(content: RecordDict) -> RecordDict:
    """Return a copy that may be changed."""
    copy = RecordDict()
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            copy[name] = ArrayRecord(
                {
                    key: Array(one.dtype, one.shape, one.stype, one.data)
                    for key, one in record.items()
                }
            )
        else:
            kind = MetricRecord if isinstance(record, MetricRecord) else ConfigRecord
            copy[name] = kind(dict(record))
    return copy


def fields_of(content: RecordDict) -> list[tuple[str, str]]:
    """Return record and name of every field."""
    return [(name, key) for name, record in content.items() for key in record]
