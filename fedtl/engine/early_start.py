"""Ray's first process, started before PyTorch is imported: each of them takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedtl.config import RunConfig
from fedtl.engine.ray_head import RayHead
from fedtl.engine.resources import Resources, actor_count, most_clients, usable_cpus
from fedtl.errors import FedtlError

# Without it there is no GPU of NVIDIA's here, which PyTorch would have to be asked for.
_DRIVER = Path("/dev/nvidiactl")

_begun: tuple[dict[str, Any], int, RayHead] | None = None


def session_options() -> dict[str, Any]:
    """Return the options of every ``ray.init`` here."""
    return {"log_to_driver": False, "logging_level": "ERROR"}


def machine_options(resources: Resources) -> dict[str, Any]:
    """Return Ray's options for this machine."""
    return {
        "num_cpus": max(1, int(resources.cpus)),
        "num_gpus": int(resources.gpus),
        "include_dashboard": False,
    }


def begin_early(config: RunConfig) -> None:
    """Start Ray's first process if the run will need one; the later start of Ray uses it.

    Errors are reported then, not here.

    Args:
        config: The run's.
    """
    global _begun
    forget()
    if config.engine != "ray" or config.ray_address or _DRIVER.exists() or config.client_gpus:
        return
    resources = Resources(float(usable_cpus()), 0.0)
    options = session_options() | machine_options(resources)
    try:
        actors = actor_count(
            resources, clients=most_clients(config), client_cpus=config.client_cpus, client_gpus=0.0
        )
        _begun = options, actors, RayHead("", options, actors=actors)
    except FedtlError:
        return


def taken(options: dict[str, Any], actors: int) -> RayHead | None:
    """Return the process that was started for the same, to the first caller; else ``None``."""
    global _begun
    if _begun is None or _begun[:2] != (options, actors):
        return None
    head, _begun = _begun[2], None
    return head


def forget() -> None:
    """End a started process that nothing uses."""
    global _begun
    if _begun is not None:
        _begun[2].stop()
        _begun = None
