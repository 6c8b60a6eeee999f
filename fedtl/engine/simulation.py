"""A whole simulated run on this machine or Ray cluster, from configuration to numbers."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import strategies
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.understood import Understood
from fedtl.engine.fedtl_clients import FedtlClients, MakeFedtlClients, inline_grid
from fedtl.engine.memory import MemoryWatch
from fedtl.engine.resources import Resources, actor_count, this_machine
from fedtl.engine.simulation_grid import SimulationGrid
from fedtl.engine.starting import Starting
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.client import head_for
from fedtl.federation.duplicates import without_duplicates
from fedtl.federation.inputs import Inputs, prepare_inputs
from fedtl.federation.opened_data import data_notes, open_data
from fedtl.federation.outcome import Outcome
from fedtl.federation.pooled_beside import PooledBeside
from fedtl.federation.preparation import (
    settled_split,
    simulated_sites,
    split_into_clients,
    split_notes,
)
from fedtl.federation.reference import Centralised, TestScore
from fedtl.federation.server import Federation
from fedtl.federation.simulated_sites import SimulatedSites
from fedtl.federation.split import Split
from fedtl.federation.unread_settings import unread_settings
from fedtl.observers.pseudonyms import write_pseudonyms
from fedtl.observers.run_folder import RunFolder

if TYPE_CHECKING:
    from fedtl.engine.cluster_extraction import ClusterRunner


@dataclass(frozen=True)
class Simulated:
    """What a simulated run came to.

    Attributes:
        outcome: The federation's.
        centralised: What all data in one place would give.
        inputs: The data.
        understood: What was counted in it before anything was computed.
        split: Who held what.
        seconds: ``start_up``, ``features``, ``handshake`` (and all that is between rounds),
            ``rounds``, ``closing``, ``reference``; one after the other.
        peak_mb: Largest memory of all processes together, in MiB.
    """

    outcome: Outcome
    centralised: Centralised
    inputs: Inputs
    understood: Understood
    split: Split
    seconds: dict[str, float]
    peak_mb: float


def simulate(
    config: RunConfig,
    folder: RunFolder,
    checkpoint: Checkpoint | None,
    check_data: Callable[[Dataset], object] | None = None,
) -> Simulated:
    """Run a federation with all its clients on this machine or Ray cluster.

    Ray starts, and its actors import what they need, while data is opened and features are
    extracted.

    Args:
        config: The run.
        folder: Where it is written down.
        checkpoint: Where it goes on from; ``None`` from the start.
        check_data: Refuses data that whoever asks cannot use, before anything is computed.

    Raises:
        FedtlError: See the parts; every message is one sentence.
    """
    began = time.perf_counter()
    watch = MemoryWatch()
    asked, config = config, config.settled().in_simulation()
    progress = folder.progress
    # An unknown strategy, or one that the head does not suit, is refused before anything starts.
    strategies.build(config, head_for(config, features=1, classes=2))
    resources = _checked_resources(config)
    starting = Starting(partial(_start_grid, config, resources))
    try:
        dataset = open_data(config)
        if check_data is not None:
            check_data(dataset)
        understood = Understood.of(dataset)
        folder.note(understood.sentence)
        for note in data_notes(config, dataset):
            folder.warn(note)
        # An impossible partition is refused before anything is computed for it.
        drawn = None if folder.knows_split else split_into_clients(config, dataset)
        opened = time.perf_counter()
        runner = _cluster_runner(config, starting)
        inputs = prepare_inputs(
            config,
            dataset,
            progress.features if progress else None,
            runner,
            folder.waits,
            partial(_list_unreadable, folder),
        )
        del dataset  # it may hold a copy of the features
        extracted = time.perf_counter()
        for note in inputs.notes:
            folder.warn(note)
        folder.keep_contents(inputs.contents, unit=inputs.unit, named=not config.pseudonyms)
        split = _split(config, folder, inputs, drawn)
        unread = unread_settings([asked], inputs.dataset, len(split.names))
        if unread:
            folder.warn(unread)
        config = config.replace(clients=len(split.names))
        for note in split_notes(config, inputs.dataset, split):
            folder.warn(note)
        split = _without_duplicates(config, folder, inputs, split)
        sites = simulated_sites(inputs, split, duplicates=config.duplicates)
        clients = [sites.site(partition_id).data for partition_id in range(config.clients)]
        pooled = PooledBeside(config, clients)
        folder.waits("starting the clients")
        grid = _open_grid(config, starting, sites)
    except BaseException as error:
        starting.abandon(error)
        raise
    started = time.perf_counter()
    watch.sample()
    try:
        federation = Federation(
            grid,
            config,
            folder,
            expected=sites.identity,
            score_test=TestScore(config, sites) if len(split.test) else None,
            simulated=grid,
            caught=config.catches,
        )
        outcome = federation.run(checkpoint)
        watch.sample()
    except BaseException as error:
        starting.abandon(error)
        raise
    # Ray takes a second or two to stop; meanwhile what is left of the centralised head is found.
    starting.stop()
    folder.waits("solving the centralised reference")
    federated = time.perf_counter()
    centralised = pooled.reference(outcome.strategy)
    watch.sample()
    rounds = math.fsum(outcome.seconds)
    before = math.fsum(checkpoint.seconds) if checkpoint is not None else 0.0
    seconds = {
        "start_up": started - began - (extracted - opened),
        "features": extracted - opened,
        "handshake": federated - started - (rounds - before) - outcome.closing_seconds,
        "rounds": rounds,
        "closing": outcome.closing_seconds,
        "reference": time.perf_counter() - federated,
    }
    return Simulated(outcome, centralised, inputs, understood, split, seconds, watch.peak_mb)


def _list_unreadable(
    folder: RunFolder, dataset: Dataset, unreadable: list[tuple[str, str]]
) -> None:
    named = not folder.config.pseudonyms
    if warning := folder.list_unreadable(dataset, unreadable, named=named):
        folder.warn(warning)


def _checked_resources(config: RunConfig) -> Resources:
    """Refuse, before anything starts, shares that this machine does not have."""
    resources = this_machine()
    if config.engine == "ray" and not config.ray_address:
        actor_count(
            resources,
            clients=_at_most(config),
            client_cpus=config.client_cpus,
            client_gpus=config.client_gpus,
        )
    return resources


def _at_most(config: RunConfig) -> int:
    """Return how many clients there may be; the data tells where they come with it."""
    counted = config.partition != "natural" and not config.partition.startswith("file:")
    return config.clients if counted else sys.maxsize


def _start_grid(config: RunConfig, resources: Resources) -> SimulationGrid | None:
    """Start Ray and its actors; an inline grid needs no start."""
    if config.engine != "ray":
        return None
    from fedtl.engine.ray_grid import RayGrid
    from fedtl.engine.ray_session import start_ray

    actors = start_ray(
        config.ray_address,
        resources,
        clients=_at_most(config),
        client_cpus=config.client_cpus,
        client_gpus=config.client_gpus,
    )
    return RayGrid(
        actors=actors,
        client_cpus=config.client_cpus,
        client_gpus=config.client_gpus,
        client_timeout=config.client_timeout,
    )


def _cluster_runner(config: RunConfig, starting: Starting[SimulationGrid]) -> ClusterRunner | None:
    """Return what extracts features on all machines, where the Ray cluster has several."""
    if not config.ray_address or config.engine != "ray":
        return None
    starting.result()
    from fedtl.engine.cluster_extraction import ClusterRunner
    from fedtl.engine.ray_session import on_many_machines

    return ClusterRunner(config.precision) if on_many_machines() else None


def _open_grid(
    config: RunConfig, starting: Starting[SimulationGrid], sites: SimulatedSites
) -> SimulationGrid:
    """Give the grid its clients."""
    app = FedtlClients(config, sites)
    grid = starting.result()
    if grid is None:
        return inline_grid(config, app)
    from fedtl.engine.ray_grid import RayGrid
    from fedtl.engine.ray_session import on_many_machines

    assert isinstance(grid, RayGrid)
    if on_many_machines():
        app = FedtlClients(config, sites.travelling())
    grid.open(config.clients, MakeFedtlClients(app), config.to_mapping(), block=app.block)
    return grid


def _without_duplicates(
    config: RunConfig, folder: RunFolder, inputs: Inputs, split: Split
) -> Split:
    found = without_duplicates(config, inputs, split)
    if found.listed:
        folder.write_csv("duplicates.csv", found.listed)
        folder.warn(found.told)
    return found.split


def _split(
    config: RunConfig,
    folder: RunFolder,
    inputs: Inputs,
    drawn: Split | None,
) -> Split:
    """Settle the split once; a resumed run reads it."""
    path = folder.path / "partition.json"
    if drawn is None:
        return Split.from_file(path, inputs.dataset)
    split = settled_split(config, inputs, drawn)
    if config.pseudonyms:
        split = split.renamed(write_pseudonyms(folder, split.names))
    folder.write("partition.json", split.to_json(inputs.dataset))
    return split
