"""All that a run needs to go on after any round, as one file that is whole or absent."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import FedtlError, UnwrittenError
from fedtl.federation.client_memory import Memories
from fedtl.transfer.standardisation import Standardisation

_FORMAT = "fedtl-checkpoint-2"
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after a round.

    Attributes:
        server_round: The last whole round.
        arrays: The global head.
        standardisation: What the sites were told; ``None`` where the strategy wants none.
        server_state: What the strategy remembers between rounds.
        pending: The facts of this round that await the score of its head.
        bytes_up: Bytes from the sites so far.
        bytes_down: Bytes to them so far.
        seconds: Seconds of every round so far.
        failures: ``(round, client, reason)`` so far.
        memories: What each client remembers, by partition id; of simulated clients only.
    """

    server_round: int
    arrays: dict[str, NDArray[np.floating]]
    standardisation: Standardisation | None
    server_state: dict[str, NDArray[np.floating]]
    pending: dict[str, Any]
    bytes_up: int
    bytes_down: int
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, int, str]] = field(default_factory=list)
    memories: Memories = field(default_factory=dict)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that a kill at any instant leaves this one or the one before.

    Raises:
        FedtlError: The disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    tensors = {f"arrays/{name}": value for name, value in checkpoint.arrays.items()}
    tensors |= {f"server/{name}": value for name, value in checkpoint.server_state.items()}
    for client, memory in checkpoint.memories.items():
        tensors |= {f"client/{client}/{name}": value for name, value in memory.items()}
    if checkpoint.standardisation is not None:
        tensors["standardisation/mean"] = checkpoint.standardisation.mean
        tensors["standardisation/scale"] = checkpoint.standardisation.scale
    facts = {
        "round": checkpoint.server_round,
        # safetensors sorts its tensors, but a message carries a head's in the head's own order.
        "arrays": list(checkpoint.arrays),
        "server-state": list(checkpoint.server_state),
        "memories": {client: list(memory) for client, memory in checkpoint.memories.items()},
        "pending": checkpoint.pending,
        "bytes-up": checkpoint.bytes_up,
        "bytes-down": checkpoint.bytes_down,
        "seconds": checkpoint.seconds,
        "failures": checkpoint.failures,
    }
    blob = save(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        metadata={"format": _FORMAT, "facts": json.dumps(facts)},
    )
    path = folder / f"round-{checkpoint.server_round:07d}.safetensors"
    write_atomically(path, blob)
    for old in sorted(folder.glob("round-*.safetensors"))[:-_KEPT]:
        old.unlink()
    return path


def write_atomically(path: Path, blob: bytes) -> None:
    """Write a file under another name, flush it to the disk, and move it into place.

    Raises:
        UnwrittenError: It cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UnwrittenError(
            f"{path} cannot be written: {error.strerror or error}; make room, or choose another "
            "folder."
        ) from error


def read_latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a folder, or ``None`` where there is none.

    Raises:
        FedtlError: The newest file is not a checkpoint of this version.
    """
    from safetensors import SafetensorError, safe_open

    paths = sorted(folder.glob("round-*.safetensors"))
    if not paths:
        return None
    try:
        with safe_open(paths[-1], framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FedtlError(f"The checkpoint {paths[-1]} cannot be read: {error}.") from error
    if metadata.get("format") != _FORMAT:
        raise FedtlError(f"The checkpoint {paths[-1]} is not of the form {_FORMAT}.")
    facts = json.loads(metadata["facts"])
    mean = tensors.get("standardisation/mean")
    return Checkpoint(
        server_round=facts["round"],
        arrays={name: tensors[f"arrays/{name}"] for name in facts["arrays"]},
        standardisation=None
        if mean is None
        else Standardisation(mean, tensors["standardisation/scale"]),
        server_state={name: tensors[f"server/{name}"] for name in facts["server-state"]},
        pending=facts["pending"],
        bytes_up=facts["bytes-up"],
        bytes_down=facts["bytes-down"],
        seconds=facts["seconds"],
        failures=[tuple(failure) for failure in facts["failures"]],
        memories={
            int(client): {name: tensors[f"client/{client}/{name}"] for name in names}
            for client, names in facts["memories"].items()
        },
    )
