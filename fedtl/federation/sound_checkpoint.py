"""The newest sound checkpoint of a run that agrees with the files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtl.errors import FedtlError
from fedtl.federation.checkpoint import Checkpoint, checkpoint_paths, read_checkpoint
from fedtl.federation.manifest import METRICS_FILE, difference
from fedtl.federation.run_identity import IDENTITY_FILE


@dataclass(frozen=True)
class Sound:
    """The place from which a run can go on.

    Attributes:
        checkpoint: ``None`` if a run has none and starts from the beginning.
        files: Length and SHA-256 of the files that it lists; empty if it lists none.
        warnings: What else was found, one sentence each.
    """

    checkpoint: Checkpoint | None
    files: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def newest_sound(run: Path, identity: str | None) -> Sound:
    """Return the place from which a run can go on.

    Args:
        run: The run folder.
        identity: The run's own number; ``None`` if an older fedtl wrote the folder; it is then used
            with a warning.

    Raises:
        FedtlError: There are checkpoints, and none is sound.
    """
    paths = checkpoint_paths(run / "checkpoint")
    if not paths:
        metrics = run / METRICS_FILE
        lost = metrics.exists() and metrics.stat().st_size > 0
        told = f"{run / 'checkpoint'} holds no checkpoint: the run starts from the beginning."
        return Sound(None, warnings=(told,) if lost else ())
    if identity is None:
        return _unvouched(run, paths[0])
    reasons: list[str] = []
    for path in paths:
        try:
            checkpoint, manifest = read_checkpoint(path)
            reason = _contradiction(run, identity, path, manifest)
        except FedtlError as error:
            reason = str(error)
        if not reason:
            assert manifest is not None
            if not reasons:
                return Sound(checkpoint, manifest["files"])
            told = f"{reasons[0].rstrip('.')}; the run goes on after round "
            told += f"{checkpoint.server_round}, from an older checkpoint."
            return Sound(checkpoint, manifest["files"], (told,))
        reasons.append(reason)
    raise FedtlError(
        f"{reasons[0].rstrip('.')}; the run cannot go on: restore the file, or start another run "
        f"with --config {run / 'config.toml'}."
    )


def _contradiction(run: Path, identity: str, path: Path, manifest: Mapping[str, Any] | None) -> str:
    """Return what in the folder contradicts a checkpoint; empty if nothing does."""
    if manifest is None:
        return f"The checkpoint {path} does not say which run it belongs to"
    if manifest["run"] != identity:
        return f"The checkpoint {path} belongs to another run than {run / IDENTITY_FILE}"
    return difference(run, manifest["files"])


def _unvouched(run: Path, path: Path) -> Sound:
    """Return the checkpoint of a folder that an older fedtl wrote."""
    checkpoint, manifest = read_checkpoint(path)
    if manifest is not None:
        raise FedtlError(
            f"{run / IDENTITY_FILE} is missing, so nothing says which run {path} belongs to; "
            f"restore it, or start another run with --config {run / 'config.toml'}."
        )
    if not (run / "partition.json").exists():
        raise FedtlError(
            f"{run} has a checkpoint and no partition.json: it is a run of real sites, which "
            "cannot be finished as a simulation, or the file is missing; restore it, "
            "or start another run."
        )
    told = (
        f"{run} was written by an older fedtl: whether its files are complete and belong to one "
        "run cannot be checked."
    )
    return Sound(checkpoint, warnings=(told,))
