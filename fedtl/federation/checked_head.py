"""A finished run's head, checked against the run's other files."""

from __future__ import annotations

from pathlib import Path

from fedtl.errors import FedtlError, UsageError
from fedtl.federation.run_identity import IDENTITY_FILE, RunIdentity, file_digest
from fedtl.json_file import read_json
from fedtl.transfer.head_file import TrainedHead, read_head

# A long run with drop-outs names each of them.
_MOST_SUMMARY_BYTES = 2**28


def checked_head(run: Path, identity: RunIdentity | None) -> tuple[TrainedHead, list[str]]:
    """Return the head of a run folder, and doubts about it, one sentence each.

    Args:
        run: The folder, which has a ``head.safetensors``.
        identity: What its ``run.json`` says; ``None`` where it has none.

    Raises:
        UsageError: The run is not finished, or there is no head in the file.
        FedtlError: The head contradicts ``run.json`` or ``summary.json``, or one of the files is
            damaged.
    """
    path = run / "head.safetensors"
    finish = f"python -m fedtl.simulate --resume {run}"
    if identity is not None and not identity.head:
        raise UsageError(f"The run in {run} is not finished; finish it with {finish}.")
    head = read_head(path)
    if identity is not None and file_digest(path) != identity.head:
        raise FedtlError(
            f"{path} is damaged, or belongs to another run: it is not the head that "
            f"{run / IDENTITY_FILE} names; restore it, or make it again with {finish}."
        )
    summary = run / "summary.json"
    if not summary.exists() and identity is None:
        return head, [f"{path} cannot be checked: {run} has no run.json and no summary.json."]
    content = read_json(summary, _MOST_SUMMARY_BYTES)
    said = content.get("head_sha256") if isinstance(content, dict) else None
    if said != head.sha256():
        raise FedtlError(
            f"{path} is not the head that {summary} names ({said}): one of them is damaged, or "
            f"belongs to another run; restore it, or make both again with {finish}."
        )
    if identity is None:
        return head, [
            f"{run} was written by an older fedtl: {path} can be checked against summary.json only."
        ]
    return head, []
