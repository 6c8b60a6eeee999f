"""A simulation as its users start it: one run, its observers, and further runs."""

from __future__ import annotations

import time
from functools import partial

from fedtl.comparison.each_site import check_sites, each_site_unseen
from fedtl.comparison.repeats import repeated
from fedtl.observers.observer import Observer
from fedtl.observers.progress import RunProgress
from fedtl.observers.pseudonyms import unnamed
from fedtl.observers.run_folder import RunFolder
from fedtl.observers.together import Observers
from fedtl.observers.tracking import trackers
from fedtl.results.over_seeds import SeedScores
from fedtl.results.unseen import UnseenSite
from fedtl.runs.clients import Ready
from fedtl.runs.run import Repeats, Run
from fedtl.runs.simulated_clients import SimulatedClients
from fedtl.watching import watchers


def simulation(
    folder: RunFolder,
    progress: RunProgress,
    *,
    seeds: int = 1,
    each_site: bool = False,
    began: float | None = None,
    observers: tuple[Observer, ...] = (),
) -> Run:
    """Return a simulation, ready to run.

    Args:
        folder: The run folder.
        progress: Shows progress.
        seeds: Number of seeds of the run, its own included.
        each_site: Whether to run it again without each site of the data.
        began: When the command began, as :func:`time.perf_counter` counts.
        observers: Further observers.
    """
    return Run(
        SimulatedClients(folder, check_sites if each_site else None),
        watchers(folder, progress, [*trackers(folder.config), *observers]),
        folder=folder,
        repeat=partial(_repeats, folder, progress, seeds, each_site),
        began=began,
    )


def _repeats(
    folder: RunFolder,
    progress: RunProgress,
    seeds: int,
    each_site: bool,
    ready: Ready,
    observers: Observers,
) -> Repeats:
    assert ready.held is not None
    inputs = ready.held.inputs
    seconds: dict[str, float] = {}
    others: list[SeedScores] = []
    unseen: list[UnseenSite] = []
    if seeds > 1:
        began = time.perf_counter()
        show = partial(progress.step, "further seeds")
        others = repeated(folder.config, inputs, seeds, show, observers.fault)
        seconds["seeds"] = time.perf_counter() - began
    if each_site:
        began = time.perf_counter()

        def step(done: int, count: int, name: str) -> None:
            hidden = f"{done} of {count}"
            progress.step("unseen sites", done, count, hidden if folder.config.pseudonyms else name)

        found = each_site_unseen(folder.config, inputs, step, observers.fault)
        unseen = unnamed(folder, found)
        seconds["unseen_sites"] = time.perf_counter() - began
    return Repeats(others, unseen, seconds)
