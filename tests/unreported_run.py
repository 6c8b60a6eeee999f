"""Whole runs in this process without the report, which would take most of the time."""

from __future__ import annotations

from pathlib import Path

from fedtl.config import RunConfig
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import on_new_data, on_own_data
from fedtl.federation.outcome import Outcome
from fedtl.observers.run_folder import RunFolder
from fedtl.runs.simulation import Simulated, simulate


def without_report(config: RunConfig) -> tuple[Simulated, RunFolder]:
    """Return what a run came to, and its folder, closed."""
    folder = RunFolder.create(config)
    try:
        return simulate(folder.config, folder, None), folder
    finally:
        folder.close()


def resumed(out: Path) -> tuple[Outcome, Checkpoint | None]:
    """Return what a run that was cut off comes to, and the checkpoint that it went on from."""
    folder, checkpoint = RunFolder.reopen(out)
    try:
        return simulate(folder.config, folder, checkpoint).outcome, checkpoint
    finally:
        folder.close()


def accuracy_of(outcome: Outcome) -> float:
    """Return the final head's accuracy on new data, or on own data if there is no other."""
    told = list(outcome.federated.values())
    return (on_new_data(told) or on_own_data(told)).accuracy
