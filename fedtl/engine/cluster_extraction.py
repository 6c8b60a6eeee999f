"""Feature extraction spread over the machines of a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayTaskError

from fedtl.data.dataset import Items
from fedtl.errors import FedtlError
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.inference import Batch, Extractor

# Enough inputs for a task to be worth sending, and few enough to show progress.
_INPUTS_PER_TASK = 512


@dataclass(frozen=True)
class ClusterRunner:
    """Runs the backbone in Ray tasks on every machine of the cluster.

    All machines must find the data at the same paths; the backbone is sent to them. Features are
    the same bytes wherever they are computed, on CPUs of one type.

    Attributes:
        precision: ``float32``, ``bfloat16`` or ``float16``.
    """

    precision: str

    def __call__(
        self,
        items: Items,
        backbone: Backbone,
        slots: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> Iterator[Batch]:
        """Yield the features of ``slots``; see :meth:`Extractor.run`.

        Raises:
            FedtlError: A machine cannot read the data, or features are not finite.
        """
        shared = ray.put((items, backbone))
        # The CPUs are the client actors', who hold them and are idle until there are features.
        task = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_extract)
        cpus = int(ray.cluster_resources().get("CPU", 1.0))
        calls: deque[Any] = deque()
        for start in range(0, len(slots), _INPUTS_PER_TASK):
            part = slots[start : start + _INPUTS_PER_TASK]
            calls.append(task.remote(shared, self.precision, part, first))
            if len(calls) >= cpus:
                yield _taken(calls.popleft())
        while calls:
            yield _taken(calls.popleft())


def _taken(call: Any) -> Batch:
    try:
        batch: Batch = ray.get(call)
    except RayTaskError as error:
        cause = error.cause
        raise FedtlError(
            f"Features cannot be extracted on a machine of the Ray cluster: {cause}; every machine "
            "must find the data at the same paths."
        ) from error
    return batch


def _extract(
    shared: tuple[Items, Backbone],
    precision: str,
    slots: NDArray[np.int64],
    first: NDArray[np.int64],
) -> Batch:
    """Return one batch for all of ``slots``, computed on one core of this machine."""
    items, backbone = shared
    extractor = Extractor(items, backbone, precision=precision, device="cpu", workers=1)
    batches = list(extractor.run(slots, first))
    unreadable: dict[int, str] = {}
    for batch in batches:
        unreadable |= batch.unreadable
    return Batch(
        np.concatenate([batch.slots for batch in batches]),
        np.concatenate([batch.features for batch in batches]),
        unreadable,
    )
