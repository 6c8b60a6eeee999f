"""A federation of which one client's answers are changed on their way to the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from numpy.typing import NDArray
from small_federation import Notes, small_sites

from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation

CLIENTS, CLASSES, WIDTH = 4, 3, 5
LIAR = 2

Lie = Callable[[str, RecordDict], RecordDict | Error]
"""Returns what the liar sends in place of an honest reply to a kind of message."""

Said = dict[str, tuple[RecordDict, RecordDict]]
"""What the liar was last asked and honestly says, by kind of message."""


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


# No lie changes the heads that clients get alone.
_ALONE = LoneHeadsOnce()


def federated_with(
    lie: Lie | None, config: RunConfig, said: Said | None = None
) -> tuple[Outcome, Notes]:
    """Run a federation; without a lie all are honest, and with one the liar tells it."""
    x, y, parts = rows()
    train, held_out = [part[:-4] for part in parts], [part[-4:] for part in parts]
    config = config.replace(clients=CLIENTS).settled()
    with small_sites(x, y, train, classes=CLASSES, held_out=held_out) as sites:
        clients = FedtlClients(config, sites, _ALONE)

        def answers(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
            replies = clients(messages, contexts)
            for at, (message, context) in enumerate(zip(messages, contexts, strict=True)):
                if context.node_config["partition-id"] == LIAR and replies[at].has_content():
                    kind, content = message.metadata.message_type, replies[at].content
                    if said is not None:
                        said[kind] = message.content, content
                    if lie is not None:
                        replies[at] = Message(lie(kind, content), reply_to=message)
            return replies

        grid = InlineGrid(CLIENTS, answers, config.to_mapping(), block=CLIENTS)
        notes = Notes()
        return Federation(grid, config, notes, expected=sites.identity).run(), notes


def with_field(content: RecordDict, record: str, key: str, value: object) -> RecordDict:
    """Return a reply with another value in one field, also one that Flower would not take."""
    new = type(content[record])()
    new.__dict__["_data"] = {**content[record].__dict__["_data"], key: value}
    return RecordDict({**content, record: new})


def fields_of(content: RecordDict) -> list[tuple[str, str]]:
    """Return record and name of every field."""
    return [(name, key) for name, record in content.items() for key in record]
