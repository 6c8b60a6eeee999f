"""Everything that a run needs to go on after any round, in one file that is complete or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.client.client_memory import Memories
from fedtl.errors import FedtlError, first_line
from fedtl.federation.round_row import Round
from fedtl.json_file import parse_json
from fedtl.transfer.standardisation import Standardisation
from fedtl.whole_file import write_atomically

_FORMAT = "fedtl-sealed-checkpoint-3"
# What an older fedtl wrote.
_UNSEALED = "fedtl-checkpoint-2"
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after a round.

    Attributes:
        server_round: The last whole round.
        arrays: The global head.
        standardisation: What the sites received; ``None`` if the strategy uses none.
        server_state: What the strategy remembers between rounds.
        pending: The facts of this round, whose head is not scored yet.
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
    pending: Round
    bytes_up: int
    bytes_down: int
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, int, str]] = field(default_factory=list)
    memories: Memories = field(default_factory=dict)


def write_checkpoint(folder: Path, checkpoint: Checkpoint, manifest: Mapping[str, Any]) -> Path:
    """Write a checkpoint so that a kill at any instant leaves this one or the one before.

    Args:
        folder: Where the run's checkpoints lie.
        checkpoint: The state.
        manifest: The run that it belongs to, and the files beside it.

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
        "pending": checkpoint.pending.to_mapping(),
        "bytes-up": checkpoint.bytes_up,
        "bytes-down": checkpoint.bytes_down,
        "seconds": checkpoint.seconds,
        "failures": checkpoint.failures,
        "manifest": manifest,
    }
    text = json.dumps(facts)
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    blob = save(tensors, metadata={"format": _FORMAT, "facts": text, "seal": _seal(text, tensors)})
    path = folder / f"round-{checkpoint.server_round:07d}.safetensors"
    write_atomically(path, blob)
    # One of a later round is another run's, or damaged: it was told, and counts for nothing.
    own = [at for at in checkpoint_paths(folder) if at.name <= path.name]
    for old in own[_KEPT:]:
        old.unlink()
    return path


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the files of a folder's checkpoints, the newest first."""
    return sorted(folder.glob("round-*.safetensors"), reverse=True)


def read_checkpoint(path: Path) -> tuple[Checkpoint, dict[str, Any] | None]:
    """Return a checkpoint, and what it says of the run and of the files beside it.

    That is ``None`` in a checkpoint of an older fedtl.

    Raises:
        FedtlError: It is damaged, or not a checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        raise FedtlError(f"The checkpoint {path} cannot be read: {first_line(error)}.") from error
    if metadata.get("format") not in (_FORMAT, _UNSEALED) or "facts" not in metadata:
        raise FedtlError(f"The checkpoint {path} is not of the form {_FORMAT}.")
    sealed = metadata["format"] == _FORMAT
    text = metadata["facts"]
    if sealed and metadata.get("seal") != _seal(text, tensors):
        raise FedtlError(
            f"The checkpoint {path} is damaged: its content does not match its digest."
        )
    facts = parse_json(text, f"The checkpoint {path}")
    try:
        return _checkpoint(facts, tensors), facts["manifest"] if sealed else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FedtlError(f"The checkpoint {path} is damaged: {error!r}.") from error


def _checkpoint(facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    mean = tensors.get("standardisation/mean")
    return Checkpoint(
        server_round=facts["round"],
        arrays={name: tensors[f"arrays/{name}"] for name in facts["arrays"]},
        standardisation=None
        if mean is None
        else Standardisation(mean, tensors["standardisation/scale"]),
        server_state={name: tensors[f"server/{name}"] for name in facts["server-state"]},
        pending=Round.from_mapping(facts["pending"]),
        bytes_up=facts["bytes-up"],
        bytes_down=facts["bytes-down"],
        seconds=facts["seconds"],
        failures=[tuple(failure) for failure in facts["failures"]],
        memories={
            int(client): {name: tensors[f"client/{client}/{name}"] for name in names}
            for client, names in facts["memories"].items()
        },
    )


def _seal(facts: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of everything that a checkpoint holds."""
    digest = hashlib.sha256(facts.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
