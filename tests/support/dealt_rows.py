"""A data set of labels alone, and all ways to deal it to clients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.partition import partition_rows

METHODS = (
    "iid",
    "dirichlet",
    "pathological",
    "shard",
    "size-linear",
    "size-square",
    "size-exponential",
)


def dataset(
    labels: NDArray[np.int64], *, test: NDArray[np.bool_] | None = None, sites: Any = None
) -> Dataset:
    return Dataset(
        name="made",
        classes=tuple(str(k) for k in range(int(labels.max()) + 1)),
        labels=labels,
        inputs=np.zeros((len(labels), 1), dtype=np.float32),
        test=np.zeros(len(labels), dtype=np.bool_) if test is None else test,
        sites=None if sites is None else np.array(sites),
        keys=[str(row) for row in range(len(labels))],
    )


def partition(
    data: Dataset, method: str, clients: int, **changes: Any
) -> tuple[list[NDArray[np.int64]], list[str]]:
    return partition_rows(data, asked(method, clients, **{"min_size": 1, **changes}))


def asked(method: str, clients: int, *, seed: int = 0, **changes: Any) -> Any:
    """Return as much of a configuration as a partition reads, whatever the keys' own limits are."""
    options = {"alpha": 1.0, "classes_per_client": 2, "shards_per_client": 2, **changes}
    options["min_examples"] = options.pop("min_size")
    values = tuple((name.replace("_", "-"), value) for name, value in options.items())
    return SimpleNamespace(partition=method, clients=clients, seed=seed, options=values)
