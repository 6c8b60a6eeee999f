"""How often an honest federation exceeds a limit on replies, and how near it comes to each.

    python simulations/benchmarks/false_alarms.py                              rendered hospitals
    python simulations/benchmarks/false_alarms.py hospitals malaria.zip pacs.zip features:heart.npz

Every strategy on every data set, dealt out in every way of `DEALT` (and by site, if there are
sites), once with the default settings and, if it trains for rounds, with some drawn from `LEARNT`.
No client lies. The largest observed ratio stands beside each limit: of a reply's norm or loss,
`reply-limit`; of a contribution to the median of all, told and asked again; of a new head's norm to
that of the one before, taken back; of one client's examples to all, told.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import strategies
from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.config_key import Scalar
from fedtl.data.dataset import Dataset
from fedtl.data.partition import partition_rows
from fedtl.determinism import generator
from fedtl.engine.inline_grid import InlineGrid
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.server import Federation
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.split import Split
from fedtl.preparation.splitting import hold_out, simulated_sites
from simulations.benchmarks.watched_replies import COLUMNS, Heard, Seen, Watched, alarm_of

Settings = dict[str, Scalar]

# How examples become clients; of one, 95 %.
NEARLY_ALL = "one has 95 %"
DEALT: dict[str, tuple[str, int, float]] = {
    "alpha .05, 5 clients": ("dirichlet", 5, 0.05),
    "alpha .05, 50 clients": ("dirichlet", 50, 0.05),
    "alpha .1, 5 clients": ("dirichlet", 5, 0.1),
    "alpha .1, 50 clients": ("dirichlet", 50, 0.1),
    "alpha .3, 50 clients": ("dirichlet", 50, 0.3),
    "alpha 1, 50 clients": ("dirichlet", 50, 1.0),
    "one class each": ("pathological", 10, 1.0),
    "sizes 1, 2, 4, 8, …": ("size-exponential", 10, 1.0),
    NEARLY_ALL: ("", 5, 1.0),
}
LEARNT: dict[str, Settings] = {
    "10 x learning rate": {"learning_rate": 0.1},
    "30 x learning rate": {"learning_rate": 0.3},
    "a tenth of it": {"learning_rate": 0.001},
    "10 epochs": {"local_epochs": 10},
    "batches of 4": {"batch_size": 4},
    "from fed3r": {"init": "fed3r"},
    "from fedcgs": {"init": "fedcgs"},
    "personal heads": {"personalise": 3},
    "prior correction": {"prior_correction": True},
    "half of the clients": {"fraction": 0.5},
    "mlp": {"head": "mlp", "head_init": "seeded"},
    "cosine": {"head": "cosine", "head_init": "seeded"},
    "stragglers": {"straggle": 0.5},
    "40 rounds": {"rounds": 40},
}


def inputs_of(spec: str, most: int) -> Inputs:
    """Return at most so many of a data set's examples, with features of the default backbone."""
    config = RunConfig(data=spec, test_fraction=0.0, hospitals_images=most, hospitals_test_images=0)
    dataset = open_data(config)
    if len(dataset) > most:
        rows = generator(0, "false-alarms").choice(len(dataset), most, replace=False)
        dataset = dataset.subset(np.sort(rows))
    return prepare_inputs(config.settled(), dataset, None)


def parts_of(dataset: Dataset, how: str) -> list[NDArray[np.int64]]:
    """Return the rows of each client."""
    if how == "by site":
        return partition_rows(dataset, RunConfig(partition="natural"))[0]
    kind, clients, alpha = DEALT[how]
    if how == NEARLY_ALL:
        rows = generator(0, "nearly-all").permutation(dataset.training)
        few = np.array_split(rows[: len(rows) // 20], clients - 1)
        return [np.sort(part) for part in (rows[len(rows) // 20 :], *few)]
    options = {"alpha": alpha, "classes_per_client": 1, "min_examples": 1}
    config = RunConfig(partition=kind, clients=clients, **options)
    return partition_rows(dataset, config)[0]


def clients_of(inputs: Inputs, how: str) -> SimulatedSites:
    """Return the clients that one way of dealing makes."""
    dataset = inputs.dataset
    halves = [
        hold_out(RunConfig(), dataset, rows, client)
        for client, rows in enumerate(parts_of(dataset, how))
    ]
    train, held_out = ([half[place] for half in halves] for place in (0, 1))
    names = [f"client-{client}" for client in range(len(halves))]
    return simulated_sites(inputs, Split(names, train, held_out, dataset.tested, np.empty(0, int)))


def run(config: RunConfig, sites: SimulatedSites, once: LoneHeadsOnce, seen: Seen, at: str) -> None:
    """Run one honest federation and note what was seen; nothing if its settings conflict."""
    try:
        watched, heard = Watched(config, sites, once), Heard()
    except UsageError:
        return
    grid = InlineGrid(config.clients, watched, config.to_mapping(), block=watched.clients.block)
    try:
        outcome = Federation(grid, config, heard, expected=sites.identity).run()
    except UsageError:
        return
    except FedtlError as error:
        seen.runs += 1
        seen.alarms[f"failed: {str(error)[:150]} ({at})"] += 1
        return
    finally:
        seen.replies += watched.replies
        for text in heard.warnings:
            if (kind := alarm_of(text)) == "dominated":
                seen.dominated += 1
            elif kind:
                seen.alarms[f"{kind}: {text[:150]} ({at})"] += 1
    seen.runs += 1
    for column, ratio in watched.ratios(outcome.arrays):
        seen.note(column, ratio, at)


def settings_of(
    strategy: str, rounds: int, drawn: int, rng: np.random.Generator
) -> Mapping[str, Settings]:
    """Return what is changed in each run of a strategy with one way of dealing."""
    base: Settings = {"rounds": rounds}
    if strategy == "fedper":
        base |= {"head": "mlp", "head_init": "seeded"}
    if strategies.load(strategy).one_round:
        return {"defaults": base}
    names = rng.choice(sorted(LEARNT), min(drawn, len(LEARNT)), replace=False).tolist()
    return {"defaults": base} | {name: base | LEARNT[name] for name in names}


def upper_bound(alarms: int, trials: int) -> float:
    """Return the upper end of a one-sided 95 % interval of a rate, after Clopper and Pearson."""
    from scipy.stats import beta

    return 1.0 if alarms >= trials else float(beta.ppf(0.95, alarms + 1, trials - alarms))


def main(
    data: Annotated[list[str] | None, typer.Argument(help="As --data takes it.")] = None,
    most: Annotated[int, typer.Option(help="Examples of each data set.")] = 1500,
    drawn: Annotated[int, typer.Option(help="Settings drawn for each way of dealing.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds of a run.")] = 10,
    minutes: Annotated[float, typer.Option(help="Most minutes of this process's time.")] = 15,
    only: Annotated[str, typer.Option(help="Strategies, by commas; all by default.")] = "",
) -> None:
    """Measure and print."""
    warnings.filterwarnings("ignore")
    began, rng = time.process_time(), generator(0, "settings")
    seen = {name: Seen() for name in only.split(",") if name} or {
        name: Seen() for name in strategies.available()
    }
    dealt: dict[tuple[str, str], tuple[SimulatedSites, LoneHeadsOnce]] = {}
    opened = {spec: inputs_of(spec, most) for spec in data or ["hospitals"]}
    for spec, inputs in opened.items():
        for how in [*DEALT, *([] if inputs.dataset.sites is None else ["by site"])]:
            try:
                dealt[spec, how] = clients_of(inputs, how), LoneHeadsOnce()
            except UsageError as error:
                print(f"not dealt out, {spec}, {how}: {error}")
    runs = [
        (spec, how, strategy, name, changes)
        for spec, how in dealt
        for strategy in seen
        for name, changes in settings_of(strategy, rounds, drawn, rng).items()
    ]
    # In any order, so that what is done when time is over is a sample of all.
    for number in rng.permutation(len(runs)).tolist():
        if time.process_time() - began > 60 * minutes:
            break
        spec, how, strategy, name, changes = runs[number]
        sites, once = dealt[spec, how]
        config = RunConfig(clients=len(sites.train), strategy=strategy).replace(**changes)
        at = f"{strategy}, {Path(spec).stem}, {how}, {name}"
        run(config.in_simulation(), sites, once, seen[strategy], at)
    report(seen)
    print(f"{time.process_time() - began:,.0f} s of one core")


def report(seen: Mapping[str, Seen]) -> None:
    """Print what was seen of each strategy and of all."""
    limits = ("reply (limit 100)", "to median (1e3)", "new head (1e6)", "share (90 %)")
    table = Table("strategy", "runs", "replies", "alarms", *limits)
    everything = Seen()
    for strategy, found in seen.items():
        everything.runs += found.runs
        everything.replies += found.replies
        everything.alarms += found.alarms
        everything.dominated += found.dominated
        for column, (ratio, at) in found.largest.items():
            everything.note(column, ratio, at)
        table.add_row(strategy, *_figures(found))
    table.add_row("all", *_figures(everything))
    Console(width=120).print(table)
    for column in COLUMNS:
        print(column, *everything.largest.get(column, ()))
    for text, times in everything.alarms.most_common():
        print(f"{times} x {text}")
    alarms = everything.alarms.total()
    print(f"reported to have nearly all examples: {everything.dominated} of {everything.runs} runs")
    for what, trials in (("replies", everything.replies), ("runs", everything.runs)):
        bound = upper_bound(alarms, trials)
        print(f"{alarms} alarms, {trials:,} {what}: a rate of at most {bound:.2g} (95 %)")


def _figures(seen: Seen) -> list[str]:
    ratios = (f"{seen.largest.get(column, (0.0, ''))[0]:.3g}" for column in COLUMNS)
    return [f"{seen.runs:,}", f"{seen.replies:,}", str(seen.alarms.total()), *ratios]


if __name__ == "__main__":
    typer.run(main)
