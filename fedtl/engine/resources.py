"""Which machine a simulation gets, and whether it has what was asked for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from fedtl.config import RunConfig
from fedtl.errors import UsageError


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of the machine or Ray cluster."""

    cpus: float
    gpus: float


def this_machine() -> Resources:
    """Return the CPUs this process may use and the GPUs that torch sees."""
    import torch

    return Resources(float(usable_cpus()), float(torch.cuda.device_count()))


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_clients(config: RunConfig) -> int:
    """Return how many clients there may be; the data decides if it brings its clients."""
    counted = config.partition != "natural" and not config.partition.startswith("file:")
    return config.clients if counted else sys.maxsize


def actor_count(
    resources: Resources, *, clients: int, client_cpus: float, client_gpus: float
) -> int:
    """Return how many client actors fit side by side; never more than there are clients.

    Raises:
        UsageError: Not even one actor fits.
    """
    if client_cpus > resources.cpus:
        raise UsageError(
            f"client-cpus = {client_cpus:g} is more than there is: {resources.cpus:g} CPUs in all."
        )
    if client_gpus > resources.gpus:
        raise UsageError(
            f"client-gpus = {client_gpus:g} is more than there is: {resources.gpus:g} GPUs in all."
        )
    fitting = int(resources.cpus / client_cpus + 1e-9)
    if client_gpus:
        fitting = min(fitting, int(resources.gpus / client_gpus + 1e-9))
    return max(1, min(fitting, clients))
