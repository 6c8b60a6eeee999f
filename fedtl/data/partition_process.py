"""Drawing a partition in a process of its own.

flwr-datasets takes seconds to import and holds 150 MB. A child process imports it while features
are extracted, draws the partition, and is gone before the first round.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.partition import check_clients, partition_rows


class PartitionProcess:
    """A child process that has flwr-datasets, until :meth:`close`.

    Args:
        method: The partition that will be drawn; one that needs no flwr-datasets starts no process.
    """

    def __init__(self, method: str) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if method != "natural" and not method.startswith("file:"):
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._pool.submit(import_module, "flwr_datasets.partitioner")

    def partition_rows(
        self, dataset: Dataset, method: str, clients: int, **parameters: Any
    ) -> tuple[list[NDArray[np.int64]], list[str]]:
        """Return what :func:`fedtl.data.partition.partition_rows` returns for the same arguments.

        Raises:
            UsageError: The partition cannot be made.
        """
        # Labels, sites and the test split are all that a partition depends on.
        labelled = replace(dataset, inputs=np.empty((len(dataset), 0), np.float32), keys=())
        if self._pool is None:
            return _partition(labelled, method, clients, parameters)
        check_clients(dataset, clients)  # known at once, the process is still importing
        return self._pool.submit(_partition, labelled, method, clients, parameters).result()

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _partition(
    dataset: Dataset, method: str, clients: int, parameters: dict[str, Any]
) -> tuple[list[NDArray[np.int64]], list[str]]:
    return partition_rows(dataset, method, clients, **parameters)
