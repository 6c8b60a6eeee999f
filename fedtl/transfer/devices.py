"""Where networks are computed, and arithmetic there that comes out the same every time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from fedtl.errors import UsageError


def device_named(name: str) -> torch.device:
    """Return a device of this machine: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.

    Raises:
        UsageError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; it should be auto, cpu or cuda.") from error
    available = torch.cuda.device_count() if device.type == "cuda" else int(device.type == "cpu")
    if (device.index or 0) >= available:
        raise UsageError(f"There is no device {name!r} on this machine; use auto or cpu.")
    return device


@contextlib.contextmanager
def reproducible_arithmetic() -> Iterator[None]:
    """Keep a GPU from rounding float32 to TF32 and from choosing its algorithms by the clock."""
    matmul = torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        matmul.allow_tf32 = tf32


def where_blocks_are_trained(*, engine: str, client_gpus: float) -> str:
    """Return on which device clients of a simulation train blocks of the backbone, a sentence.

    Args:
        engine: The run's.
        client_gpus: An actor's share of a GPU, which counts with Ray alone.

    Returns:
        Empty on a machine without a GPU.
    """
    if device_named("auto").type == "cpu":
        return ""
    gpu = torch.cuda.get_device_name()
    if engine == "ray" and not client_gpus:
        return (
            f"Blocks are trained on the CPU, though this machine has a GPU ({gpu}), as actors have "
            "no share of it; client-gpus = 0.25, say, gives each of four a quarter."
        )
    return f"Blocks are trained on a GPU ({gpu}), whose last bits are not a CPU's."
