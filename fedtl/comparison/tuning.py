"""Each strategy's own search for its hyper-parameters, all with the same number of trials.

A trial trains on three quarters of every client's training examples and is scored on the rest, so
it never sees rows that the comparison reports. The searches run in parallel; each waits for its own
last trial, so that its choice does not depend on the number of searches.

Every seed has a search of its own. A seed deals again and holds out other rows: four fifths of what
one seed trains on is held out under some other of a few seeds, so a search on the first seed's
training rows would choose by rows that the other seeds are scored on. Nested in the seed, a search
sees training rows of its seed alone, and each seed's score is that of the whole procedure, search
included, on rows that the procedure never saw; the spread over seeds includes that of the search.
(One held-out set for all seeds would cost fewer trials. But clients would hold out what they
get by chance, small ones all or nothing, and the spread over seeds would no longer include that of
the held-out rows.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import strategies
from fedtl.client.alone import lone_heads
from fedtl.comparison.cell import MakeScene, Scene
from fedtl.comparison.plan import Cell
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.config_key import Scalar
from fedtl.data.holdout import held_out_split
from fedtl.determinism import derived_seed, generator
from fedtl.engine.task_pool import EnterOfTask, Task, TaskFailure, TaskPool
from fedtl.fault import Enter
from fedtl.federation.evaluation import ClientTallies
from fedtl.observers.entering import Entering
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.runs.clients import ClientsHere
from fedtl.runs.run import Run
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead
from strategies.base.search import ranges_of

if TYPE_CHECKING:
    from optuna import Study, Trial

    from fedtl.comparison.folder import ComparisonFolder
    from fedtl.observers.progress import RunProgress

Chosen = dict[str, float]
"""Hyper-parameters that a search chose, by configuration key."""

_VALIDATION = 0.25


def chosen_for(cell: Cell, chosen: Mapping[str, Chosen]) -> Cell:
    """Return a cell with the hyper-parameters that were chosen for it, by the cell's name."""
    values = chosen.get(cell.name, {})
    return dataclasses.replace(cell, config=_with(cell.config, values))


def tune(
    folder: ComparisonFolder,
    pool: TaskPool,
    scenes: Mapping[str, SimulatedSites],
    progress: RunProgress,
    enter: EnterOfTask,
) -> dict[str, Chosen]:
    """Search the hyper-parameters of every cell, on the clients of its own seed.

    A finished search is not repeated. The result is by the cell's name, without cells whose
    strategy has no hyper-parameters of its own. ``enter`` receives
    unexpected exceptions.
    """
    chosen: dict[str, Chosen] = {}
    searches: dict[str, _Search] = {}
    for cell in folder.plan.cells():
        search = _Search(cell, folder.plan.tune)
        if not search.ranges:
            continue
        found = folder.read_tuned(cell)
        if found is not None:
            chosen[cell.name] = found
            continue
        searches[cell.name] = search
    for scene in dict.fromkeys(search.cell.scene for search in searches.values()):
        cell = next(search.cell for search in searches.values() if search.cell.scene == scene)
        pool.add_scene(f"tune_{scene}", MakeScene(validation_sites(scenes[scene], cell.config)))
    for name, search in searches.items():
        pool.submit(Task(name, f"tune_{search.cell.scene}", search.ask()))
    total = folder.plan.tune * len(searches)
    for done, (task, accuracy) in enumerate(pool.results(enter), start=1):
        search = searches[task.name]
        search.tell(math.nan if isinstance(accuracy, TaskFailure) else accuracy)
        progress.step("trials", done, total, task.name.replace("_", ", "))
        if search.left:
            pool.submit(dataclasses.replace(task, work=search.ask()))
        else:
            folder.enter_tuned(search.cell, search.chosen, search.trials)
            chosen[search.cell.name] = search.chosen
    return chosen


class _Search:
    """The search of one cell: Optuna's TPE, starting with the configured values."""

    def __init__(self, cell: Cell, trials: int) -> None:
        self.cell, self.left = cell, trials
        self.ranges = ranges_of(strategies.load(cell.strategy))
        self._study = _study(derived_seed(cell.config.seed, f"tune/{cell.name}") % 2**32)
        mapping = cell.config.to_mapping()
        self._configured = {key: float(mapping[key]) for key in self.ranges}
        self._asked: tuple[Trial | None, Chosen] = (None, {})
        self.trials: list[dict[str, Any]] = []

    def ask(self) -> RunTrial:
        """Return the work of the next trial; the first uses the configured values."""
        self.left -= 1
        if not self.trials:
            self._asked = None, self._configured
            return RunTrial(self.cell.config)
        trial = self._study.ask()
        values = {
            key: trial.suggest_float(key, within.low, within.high, log=within.log)
            for key, within in self.ranges.items()
        }
        self._asked = trial, values
        return RunTrial(_with(self.cell.config, values))

    def tell(self, accuracy: float) -> None:
        """Record the result of a trial; NaN if it failed."""
        trial, values = self._asked
        score = 0.0 if math.isnan(accuracy) else accuracy
        self.trials.append({**values, "accuracy": score})
        if trial is not None:
            self._study.tell(trial, score)
        elif all(within.low <= values[key] <= within.high for key, within in self.ranges.items()):
            _add(self._study, values, self.ranges, score)

    @property
    def chosen(self) -> Chosen:
        """The values of the best trial; of equals, of the first."""
        best = max(self.trials, key=lambda trial: trial["accuracy"])
        return {key: best[key] for key in self.ranges}


def _study(seed: int) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _add(study: Study, values: Chosen, ranges: Mapping[str, Any], score: float) -> None:
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    distributions = {
        key: FloatDistribution(within.low, within.high, log=within.log)
        for key, within in ranges.items()
    }
    study.add_trial(create_trial(params=values, distributions=distributions, value=score))


@dataclass(frozen=True)
class RunTrial:
    """The work of one trial."""

    config: RunConfig

    def __call__(self, scene: Scene, enter: Enter) -> float:
        """Return the accuracy on all validation examples, of the heads that clients would use."""
        config = self.config.replace(clients=len(scene.sites.train), own_data_rows="held-out")
        # Without a global head it may be the lone heads that are scored.
        scored = not strategies.load(config.strategy).global_head
        alone = lone_heads if scored else _untrained
        run = Run(ClientsHere(config, scene.sites, alone), [Entering(enter)])
        outcome, *_ = run.federate()
        return _accuracy(outcome.personal or outcome.federated)


def validation_sites(sites: SimulatedSites, config: RunConfig) -> SimulatedSites:
    """Return the clients with some training rows held out, and no other rows to score."""
    halves = [
        held_out_split(
            sites.labels,
            rows,
            _VALIDATION,
            generator(config.seed, "validation", client),
            sites.groups,
        )
        for client, rows in enumerate(sites.train)
    ]
    nobody = np.empty(0, np.int64)
    return dataclasses.replace(
        sites,
        train=[train for train, _ in halves],
        held_out=[held_out for _, held_out in halves],
        test=nobody,
        unseen=nobody,
    )


def _untrained(
    config: RunConfig, clients: Sequence[ClientData], leave_out: bool
) -> list[AloneHead]:
    """Return local-only heads of zeros, since a search does not use them."""
    width = clients[0].features.shape[1]
    form = LinearHead(width, clients[0].classes)
    arrays = form.initial("zero", config.seed)
    identity = Standardisation.identity(width)
    return [AloneHead(dict(arrays), identity, form, "ridge") for _ in clients]


def _accuracy(tallies: Mapping[int, ClientTallies]) -> float:
    examples = sum(client.held_out.total for client in tallies.values())
    correct = sum(int(client.held_out.correct.sum()) for client in tallies.values())
    return correct / examples if examples else math.nan


def _with(config: RunConfig, values: Mapping[str, Scalar]) -> RunConfig:
    return from_mapping(values, where="the search", base=config)
