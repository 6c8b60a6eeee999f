"""Which training rows each client holds, drawn once from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.partitions.base import Partition, Rows
from fedtl.errors import UsageError
from fedtl.kinds import KINDS

if TYPE_CHECKING:
    from fedtl.config import RunConfig


def partition_rows(dataset: Dataset, config: RunConfig) -> tuple[list[Rows], list[str]]:
    """Return the training rows of each client, sorted, and the clients' names.

    Every training row goes to exactly one client and no client is empty, except with ``file:``,
    where a row in no list is left out. Groups go to clients whole: each is dealt as one row of its
    most frequent class would be, and counts as one.

    Args:
        dataset: The data; its test rows, and those of an unseen site, go to nobody.
        config: The run, settled; its partition, the options of that, its seed and its number of
            clients count. ``natural`` and ``file:`` have their own number.

    Raises:
        UsageError: The partition is unknown, or the data cannot be split as asked; a site or a list
            has only a part of a group.
    """
    kind = KINDS["partition"]
    build = cast(type[Partition], kind.load(config.partition))
    parts, names = build(config, kind.found(config.partition)[1]).parts(dataset)
    dealt = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    twice, foreign = (np.diff(dealt) == 0).any(), np.setdiff1d(dealt, dataset.training).size
    if twice or foreign or not parts or not all(map(len, parts)) or len(names) != len(parts):
        raise UsageError(
            f"partition = {config.partition} does not give every client rows of its own, each "
            "training row to one client at most"
        )
    return parts, names
