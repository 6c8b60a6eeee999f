"""A whole comparison on this machine or Ray cluster: features once, then runs in parallel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from fedtl.comparison.cell import MakeScene, RunCell
from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.plan import Cell, Plan
from fedtl.comparison.result import CellResult
from fedtl.comparison.standings import Standings, standings
from fedtl.comparison.tuning import Chosen, chosen_for, tune
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.understood import Understood
from fedtl.engine.resources import this_machine
from fedtl.engine.starting import Starting
from fedtl.engine.task_pool import InlinePool, Task, TaskFailure, TaskPool
from fedtl.fault import Fault
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import data_notes, open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.splitting import settled_split, simulated_sites, split_into_clients
from fedtl.runs.unread_settings import unread_settings
from fedtl.transfer.backbones import for_inputs, taken_for

if TYPE_CHECKING:
    from fedtl.observers.progress import RunProgress


@dataclass(frozen=True)
class Compared:
    """The result of a comparison.

    Attributes:
        plan: The plan.
        results: Results of the runs that did not fail.
        failed: Why the other runs failed.
        chosen: Tuned hyper-parameters, by the cell's name.
    """

    plan: Plan
    results: Mapping[Cell, CellResult]
    failed: Mapping[Cell, str]
    chosen: Mapping[str, Chosen]

    @cached_property
    def points(self) -> list[Standings]:
        """How strategies compare at every point."""
        return standings(self)

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """How many runs failed, by strategy and reason."""
        return Counter((cell.strategy, reason) for cell, reason in self.failed.items())


def run_comparison(folder: ComparisonFolder, progress: RunProgress) -> Compared:
    """Run the unfinished runs of a comparison.

    Raises:
        FedtlError: The data, the features or a partition is not available; every message is one
            sentence. A run that fails is named in the result instead.
    """
    plan = folder.plan
    chosen = {
        cell.name: found
        for cell in plan.cells()
        if plan.tune and (found := folder.read_tuned(cell)) is not None
    }
    cells = [chosen_for(cell, chosen) for cell in plan.cells()]
    results = {cell: result for cell in cells if (result := folder.result_of(cell)) is not None}
    if len(results) == len(cells):
        return Compared(plan, results, {}, chosen)
    starting = Starting(partial(_start_pool, plan.base, len(cells) - len(results)))
    try:
        dataset = _opened(folder, progress)
        if folder.plan != plan:
            plan = folder.plan
            cells = [chosen_for(cell, chosen) for cell in plan.cells()]
        # A search looks at its seed's clients, whatever has run over them.
        needed = cells if plan.tune else [cell for cell in cells if cell not in results]
        scenes, inputs = _scenes(folder, needed, dataset, progress)
        del dataset  # it may hold a copy of the features
        pool = starting.result() or InlinePool(caught=plan.base.catches)
        _add_scenes(pool, scenes)
    except BaseException as error:
        starting.abandon(error)
        raise
    try:
        if plan.tune:
            chosen = tune(folder, pool, scenes, progress, partial(_enter, folder, progress))
            cells = [chosen_for(cell, chosen) for cell in plan.cells()]
            results = {cell: done for cell in cells if (done := folder.result_of(cell)) is not None}
        failed = _run(folder, pool, cells, results, progress)
    except BaseException as error:
        starting.abandon(error)
        raise
    starting.stop()
    del inputs  # features without a file in the cache lived until here
    ordered = {cell: results[cell] for cell in cells if cell in results}
    return Compared(plan, ordered, failed, chosen)


def _run(
    folder: ComparisonFolder,
    pool: TaskPool,
    cells: Sequence[Cell],
    results: dict[Cell, CellResult],
    progress: RunProgress,
) -> dict[Cell, str]:
    """Run the cells without a result, and enter their results; return why cells failed."""
    waiting = {cell.name: cell for cell in cells if cell not in results}
    failed: dict[Cell, str] = {}
    for name, cell in waiting.items():
        pool.submit(Task(name, cell.scene, RunCell(cell.config)))
    for task, result in pool.results(partial(_enter, folder, progress)):
        cell = waiting[task.name]
        if isinstance(result, TaskFailure):
            failed[cell] = result.reason
            if not result.entered:
                progress.warned(f"{cell.name}: {result.reason}")
        else:
            folder.enter(cell, result)
            results[cell] = result
        done = len(results) + len(failed)
        progress.step("runs", done, len(cells), cell.name.replace("_", ", "))
    return failed


def _enter(
    folder: ComparisonFolder, progress: RunProgress, task: Task, where: str, fault: Fault
) -> None:
    """Write an unexpected error of a run to ``errors.log``, and report the first of its kind."""
    if first := folder.errors.enter(", ".join(filter(None, (task.name, where))), fault):
        progress.warned(first)


def _start_pool(config: RunConfig, tasks: int) -> TaskPool | None:
    """Start Ray and its actors; what runs in this process needs no start."""
    if config.engine != "ray":
        return None
    from fedtl.engine.ray_pool import RayPool
    from fedtl.engine.ray_session import start_ray

    actors = start_ray(
        config.ray_address,
        this_machine(),
        clients=tasks,
        client_cpus=config.client_cpus,
        client_gpus=config.client_gpus,
    )
    return RayPool(actors=actors, cpus=config.client_cpus, gpus=config.client_gpus)


def _opened(folder: ComparisonFolder, progress: RunProgress) -> Dataset:
    """Return the data, having settled in the plan what they say of it."""
    plan = folder.plan
    dataset = open_data(plan.base)
    progress.noted(Understood.of(dataset).sentence)
    base = for_inputs(plan.base, dataset.inputs)
    if base != plan.base:
        folder.settle(replace(plan, base=base))
        progress.noted(taken_for(base, dataset.inputs))
    return dataset


def _scenes(
    folder: ComparisonFolder, cells: Sequence[Cell], dataset: Dataset, progress: RunProgress
) -> tuple[dict[str, SimulatedSites], Inputs]:
    """Extract the features, and deal them to clients once for every point and seed."""
    base = folder.plan.base
    first = {cell.scene: cell.config for cell in reversed(cells)}
    for note in data_notes(base, dataset):
        progress.warned(note)
    # An impossible partition is refused before anything is computed for it.
    drawn = {scene: split_into_clients(config, dataset) for scene, config in first.items()}
    counts = max(len(split.names) for split in drawn.values())
    unread = unread_settings([cell.config for cell in cells], dataset, counts, compared=True)
    if unread:
        progress.warned(unread)
    named = not base.pseudonyms

    def list_unreadable(dataset: Dataset, unreadable: list[tuple[str, str]]) -> None:
        if warning := folder.list_unreadable(dataset, unreadable, named=named):
            progress.warned(warning)

    inputs = prepare_inputs(
        base,
        dataset,
        progress.features,
        on_wait=progress.phase,
        on_unreadable=list_unreadable,
    )
    for note in inputs.notes:
        progress.warned(note)
    folder.keep_contents(inputs.contents, unit=inputs.unit, named=named)
    found = {
        scene: without_duplicates(config, inputs, settled_split(config, inputs, drawn[scene]))
        for scene, config in first.items()
    }
    listed = [{"clients": scene, **row} for scene, own in found.items() for row in own.listed]
    if listed:
        folder.write_csv("duplicates.csv", listed)
        scene, own = next((scene, own) for scene, own in found.items() if own.listed)
        progress.warned(f"{scene.replace('_', ', ')}: {own.told}")
    scenes = {
        scene: simulated_sites(inputs, own.split, duplicates=base.duplicates)
        for scene, own in found.items()
    }
    return scenes, inputs


def _add_scenes(pool: TaskPool, scenes: Mapping[str, SimulatedSites]) -> None:
    travelling = False
    if not isinstance(pool, InlinePool):
        from fedtl.engine.ray_session import on_many_machines

        travelling = on_many_machines()
    for name, sites in scenes.items():
        pool.add_scene(name, MakeScene(sites.travelling() if travelling else sites))
