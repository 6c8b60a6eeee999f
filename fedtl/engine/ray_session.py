"""This process's Ray: started or joined, and left again."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial

import ray

from fedtl.engine.early_start import machine_options, session_options, taken
from fedtl.engine.ray_head import RayHead
from fedtl.engine.ray_internals import (
    job_of_installed_code,
    no_environment_of_the_job,
    quietly_joined,
    sigterm_kept,
)
from fedtl.engine.resources import Resources, actor_count

# Ray is one for a process, and so is what keeps it.
_head: RayHead | None = None


def start_ray(
    address: str, resources: Resources, *, clients: int, client_cpus: float, client_gpus: float
) -> int:
    """Start Ray on this machine, or join the cluster at ``address``.

    Args:
        address: The cluster's; empty for this machine.
        resources: This machine's.
        clients: The most actors that have something to do.
        client_cpus: CPU share of an actor.
        client_gpus: GPU share of an actor.

    Returns:
        How many actors fit.

    Raises:
        FedtlError: There is no cluster at ``address``, there is too little memory, or Ray does not
            start within a minute.
    """
    global _head
    stop_ray()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning of Ray's
    options = session_options()
    fitting = partial(
        actor_count, clients=clients, client_cpus=client_cpus, client_gpus=client_gpus
    )
    if address:
        _head = RayHead(address, options, actors=0)
    else:
        everything, actors = options | machine_options(resources), fitting(resources)
        _head = taken(everything, actors) or RayHead(address, everything, actors=actors)
    found = _head.answer()
    # It has answered a moment ago, so that this, which nothing could interrupt, takes no time.
    with quietly_joined(), nullcontext() if address else no_environment_of_the_job():
        ray.init(address=found, job_config=job_of_installed_code(), **options)
    held = ray.cluster_resources()
    return fitting(Resources(held.get("CPU", 0.0), held.get("GPU", 0.0)))


def stop_ray() -> None:
    """Leave Ray; if it was started for this process, end it and all its processes."""
    global _head
    with sigterm_kept():
        ray.shutdown()
    if _head is not None:
        _head.stop()
        _head = None


def end_processes() -> None:
    """End all of Ray's processes at once; this process is ending, too."""
    if _head is not None:
        _head.stop()


def end_unanswered() -> None:
    """End all of Ray's processes if none has answered yet; :func:`stop_ray` ends others."""
    if _head is not None:
        _head.stop(unless_answered=True)


def on_many_machines() -> bool:
    """Return whether Ray has nodes that cannot read this machine's files."""
    return sum(bool(node["Alive"]) for node in ray.nodes()) > 1
