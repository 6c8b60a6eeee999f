"""The clients of a simulated run, on this machine or Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import strategies
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.understood import Understood
from fedtl.engine.early_start import forget
from fedtl.engine.fedtl_clients import FedtlClients, MakeFedtlClients, inline_grid
from fedtl.engine.resources import Resources, actor_count, most_clients, this_machine
from fedtl.engine.simulation_grid import SimulationGrid
from fedtl.engine.starting import Starting
from fedtl.errors import UsageError
from fedtl.federation.zero_shot import texts_of
from fedtl.observers.pseudonyms import write_pseudonyms
from fedtl.observers.run_folder import RunFolder
from fedtl.observers.together import Observers
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import data_notes, open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.split import Split
from fedtl.preparation.splitting import (
    settled_split,
    simulated_sites,
    split_into_clients,
    split_notes,
)
from fedtl.runs.clients import Clients, Held, Ready
from fedtl.runs.pooled_beside import PooledBeside
from fedtl.runs.unread_settings import unread_settings
from fedtl.scenario.adversity import attackers
from fedtl.transfer.backbones import for_inputs, taken_for
from fedtl.transfer.devices import where_blocks_are_trained
from fedtl.transfer.heads import head_of

if TYPE_CHECKING:
    from fedtl.engine.cluster_extraction import ClusterRunner


class SimulatedClients(Clients):
    """All clients of data that is dealt to them, on this machine or Ray cluster.

    Ray starts, and its actors import what they need, while data is opened and features are
    extracted.

    Args:
        folder: The run's.
        check_data: Refuses data that the caller cannot use, before anything is computed.
    """

    def __init__(
        self, folder: RunFolder, check_data: Callable[[Dataset], object] | None = None
    ) -> None:
        self._folder, self._check_data = folder, check_data
        self._starting: Starting[SimulationGrid] | None = None

    def prepare(self, observers: Observers) -> Ready:
        """Open the data, extract the features, deal them to clients and start these."""
        folder, asked = self._folder, self._folder.config
        config = asked.settled().in_simulation()
        # An unknown strategy, or one that the head does not suit, is refused at once.
        strategy = strategies.build(config, head_of(config, features=1, classes=2))
        resources = _checked_resources(config)
        starting = self._starting = Starting(partial(_start_grid, config, resources))
        dataset = open_data(config)
        if self._check_data is not None:
            self._check_data(dataset)
        understood = Understood.of(dataset)
        observers.noted(understood.sentence)
        taken = for_inputs(asked, dataset.inputs)
        if taken != asked:
            folder.settle(taken)
            observers.noted(taken_for(taken, dataset.inputs))
            asked, config = taken, taken.settled().in_simulation()
        if strategy.scores_zero_shot:
            _read_names(config, dataset)
        for note in data_notes(config, dataset):
            observers.warned(note)
        # An impossible partition is refused before anything is computed for it.
        drawn = None if folder.knows_split else split_into_clients(config, dataset)
        opened = time.perf_counter()
        inputs = prepare_inputs(
            config,
            dataset,
            observers.features,
            _cluster_runner(config, starting),
            observers.phase,
            partial(_list_unreadable, folder, observers),
        )
        del dataset  # it may hold a copy of the features
        if config.trains_blocks and asked.views < 0:
            views = inputs.crops.views if inputs.crops else 0
            asked, config = asked.replace(views=views), config.replace(views=views)
            folder.settle(asked)
        extracted = time.perf_counter()
        for note in inputs.notes:
            observers.warned(note)
        if config.trains_blocks and (
            told := where_blocks_are_trained(engine=config.engine, client_gpus=config.client_gpus)
        ):
            observers.warned(told)
        folder.keep_contents(inputs.contents, unit=inputs.unit, named=not config.pseudonyms)
        split = _split(config, folder, inputs, drawn)
        unread = unread_settings([asked], inputs.dataset, len(split.names))
        if unread:
            observers.warned(unread)
        config = config.replace(clients=len(split.names))
        for note in split_notes(config, inputs.dataset, split):
            observers.warned(note)
        found = without_duplicates(config, inputs, split)
        if found.listed:
            folder.write_csv("duplicates.csv", found.listed)
            observers.warned(found.told)
        split = found.split
        sites = simulated_sites(inputs, split, duplicates=config.duplicates)
        clients = [sites.site(partition_id).data for partition_id in range(config.clients)]
        texts = texts_of(config, sites.class_names) if strategy.scores_zero_shot else None
        pooled = PooledBeside(config, clients, texts)
        observers.phase("starting the clients")
        grid = _open_grid(config, starting, sites)
        return Ready(
            config=config,
            grid=grid,
            names=split.names,
            hostile=attackers(config),
            sites=sites,
            held=Held(inputs, split, understood, extracted - opened, pooled),
            simulated=grid,
        )

    def release(self) -> None:
        """Stop Ray, which takes a second or two."""
        if self._starting is not None:
            self._starting.stop()

    def abandon(self, error: BaseException) -> None:
        """See :class:`Clients`."""
        if self._starting is not None:
            self._starting.abandon(error)
        forget()


def _list_unreadable(
    folder: RunFolder,
    observers: Observers,
    dataset: Dataset,
    unreadable: list[tuple[str, str]],
) -> None:
    named = not folder.config.pseudonyms
    if warning := folder.list_unreadable(dataset, unreadable, named=named):
        observers.warned(warning)


def _read_names(config: RunConfig, dataset: Dataset) -> None:
    """Read the classes' names, so that a backbone without a text tower is refused at once."""
    if isinstance(dataset.inputs, np.ndarray):
        raise UsageError(
            f"{dataset.name} holds features, and there is no text tower beside them that reads "
            "class names; use init = 'none' and no prompt, or pictures and a backbone that has one."
        )
    texts_of(config, dataset.classes)


def _checked_resources(config: RunConfig) -> Resources:
    """Refuse, before anything starts, shares that this machine does not have."""
    resources = this_machine()
    if config.engine == "ray" and not config.ray_address:
        actor_count(
            resources,
            clients=most_clients(config),
            client_cpus=config.client_cpus,
            client_gpus=config.client_gpus,
        )
    return resources


def _start_grid(config: RunConfig, resources: Resources) -> SimulationGrid | None:
    """Start Ray and its actors; an inline grid needs no start."""
    if config.engine != "ray":
        return None
    from fedtl.engine.ray_grid import RayGrid
    from fedtl.engine.ray_session import start_ray

    actors = start_ray(
        config.ray_address,
        resources,
        clients=most_clients(config),
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
    """Return what extracts features on all machines, if the Ray cluster has several."""
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


def _split(
    config: RunConfig,
    folder: RunFolder,
    inputs: Inputs,
    drawn: Split | None,
) -> Split:
    """Draw the split once; a resumed run reads it."""
    path = folder.path / "partition.json"
    if drawn is None:
        return Split.from_file(path, inputs.dataset)
    split = settled_split(config, inputs, drawn)
    if config.pseudonyms:
        split = split.renamed(write_pseudonyms(folder, split.names))
    folder.write("partition.json", split.to_json(inputs.dataset))
    return split
