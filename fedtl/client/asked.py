"""What the clients of a block were asked: by which message, and with which arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import Context, Message
from numpy.typing import NDArray

from fedtl.errors import FedtlError
from fedtl.messages import phases
from fedtl.preparation.site import Site
from fedtl.records import array_record, config_record, from_record
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.standardisation import Standardisation


class Asked(NamedTuple):
    """A client of a block: what it is asked, what it remembers, what it holds."""

    message: Message
    context: Context
    site: Site


def block_of(clients: Sequence[Asked]) -> ClientBlock:
    """Return the clients' training rows, standardised as the server says."""
    first, content = clients[0].site.data, clients[0].message.content
    block = ClientBlock.unstandardised(
        first.features,
        first.labels,
        rows=[site.data.train for *_, site in clients],
        partition_ids=[site.data.partition_id for *_, site in clients],
        classes=first.classes,
        groups=first.groups,
        below=first.below,
        crops=first.crops,
    )
    if "standardisation" not in content:
        return block
    arrays = from_record(array_record(content, "standardisation"))
    return block.standardised([Standardisation(arrays["mean"], arrays["scale"])])


def heads_sent(clients: Sequence[Asked], head: Head) -> Tensors:
    """Return the heads that were sent, each ``(C, *shape)``."""
    return arrays_sent(clients, "arrays", head.shapes)


def class_counts_told(clients: Sequence[Asked]) -> NDArray[np.int64]:
    """Return how many examples of each class the server says that all have, shape ``(K,)``.

    Raises:
        FedtlError: That is no such count for every class.
    """
    told = config_record(clients[0].message.content, "config").get(phases.CLASS_COUNTS, [])
    classes = clients[0].site.data.classes
    counts = [one for one in told if isinstance(one, int)] if isinstance(told, list) else []
    if len(counts) != classes or min(counts) < 0 or not sum(counts):
        raise FedtlError(
            f"The server should say how many examples there are of each of {classes} classes, and "
            "does not; run the same version of fedtl on both sides."
        )
    return np.array(told, np.int64)


def arrays_sent(clients: Sequence[Asked], name: str, shapes: Iterable[str]) -> Tensors:
    """Return arrays that were sent, each ``(C, *shape)``; a record sent to many is read once."""
    seen: dict[int, Tensors] = {}
    each = []
    for message, _, _ in clients:
        record = array_record(message.content, name)
        if id(record) not in seen:
            seen[id(record)] = {
                key: torch.from_numpy(value.astype(np.float32))
                for key, value in from_record(record).items()
            }
        each.append(seen[id(record)])
    if len(seen) == 1:
        return {key: each[0][key].expand(len(each), *each[0][key].shape) for key in shapes}
    return {key: torch.stack([one[key] for one in each]) for key in shapes}
