"""The same run with further seeds, in this process, over the same features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fedtl.comparison.cell import MakeScene, RunCell
from fedtl.config import RunConfig
from fedtl.fault import Enter, Fault
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.splitting import simulated_sites, split_into_clients
from fedtl.results.over_seeds import SeedScores


def repeated(
    config: RunConfig,
    inputs: Inputs,
    seeds: int,
    on_progress: Callable[[int, int, str], None],
    enter: Enter,
) -> list[SeedScores]:
    """Run with the seeds after the configured one, ``seeds`` - 1 of them.

    The data stay those of the configured seed: the split, participation, shuffles and seeded starts
    differ, as between the seeds of a comparison.

    Args:
        config: The run.
        inputs: Its data and features.
        seeds: How many there are, the configured one included.
        on_progress: Called with the seeds done, their number, and the last.
        enter: Receives unexpected exceptions.

    Raises:
        FedtlError: A partition cannot be drawn, or a federation fails.
    """
    scores = []
    for seed in range(config.seed + 1, config.seed + seeds):
        again = config.in_simulation().replace(seed=seed, data_seed=config.inputs_seed)
        drawn = split_into_clients(again, inputs.dataset)
        split = without_duplicates(again, inputs, drawn).split
        scene = MakeScene(simulated_sites(inputs, split, duplicates=config.duplicates))()
        result = RunCell(again)(scene, partial(_enter_of, f"Seed {seed}", enter))
        scores.append(SeedScores(seed, result.own_data, result.new_data))
        on_progress(len(scores), seeds - 1, f"seed {seed}")
    return scores


def _enter_of(seed: str, enter: Enter, where: str, fault: Fault) -> None:
    enter(f"{seed}, {where}", fault)
