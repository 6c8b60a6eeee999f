"""Whole runs in this process without the report, which would take most of the time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedtl.config import RunConfig
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import on_new_data, on_own_data
from fedtl.federation.outcome import Outcome
from fedtl.observers.run_folder import RunFolder
from fedtl.results.centralised import Centralised
from fedtl.runs.clients import Ready
from fedtl.runs.reference import centralised_reference
from fedtl.runs.run import Run
from fedtl.runs.simulated_clients import SimulatedClients


@dataclass(frozen=True)
class Simulated:
    """What a run came to.

    Attributes:
        outcome: The federation's.
        ready: Its clients.
    """

    outcome: Outcome
    ready: Ready

    @cached_property
    def centralised(self) -> Centralised:
        """What all data in one place would give."""
        assert self.ready.sites is not None
        clients = [self.ready.sites.site(at).data for at in range(self.ready.config.clients)]
        return centralised_reference(self.outcome.strategy, clients)


def simulated(folder: RunFolder, checkpoint: Checkpoint | None) -> Simulated:
    """Return what the run of a folder comes to; the folder is closed."""
    try:
        outcome, ready, _ = Run(SimulatedClients(folder), folder=folder).federate(checkpoint)
        return Simulated(outcome, ready)
    finally:
        folder.close()  # as the system does for a killed process


def without_report(config: RunConfig) -> tuple[Simulated, RunFolder]:
    """Return what a run came to, and its folder, closed."""
    folder = RunFolder.create(config)
    return simulated(folder, None), folder


def resumed(out: Path) -> tuple[Outcome, Checkpoint | None]:
    """Return what a run that was cut off comes to, and the checkpoint that it went on from."""
    folder, checkpoint = RunFolder.reopen(out)
    return simulated(folder, checkpoint).outcome, checkpoint


def accuracy_of(outcome: Outcome) -> float:
    """Return the final head's accuracy on new data, or on own data if there is no other."""
    told = list(outcome.federated.values())
    return (on_new_data(told) or on_own_data(told)).accuracy
