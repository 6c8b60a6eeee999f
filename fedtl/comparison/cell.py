"""One run of a comparison, in one process: the same federation as a simulation's, without a folder.

All clients are answered inline; that a simulation with Ray actors gives the same bytes is the
engine's contract.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedtl.client.alone import LoneHeadsOnce, TrainAloneOnce
from fedtl.comparison.marks import Marks
from fedtl.comparison.result import CellResult, ClientScore, RoundPoint
from fedtl.config import RunConfig
from fedtl.fault import Enter
from fedtl.federation.evaluation import Summary
from fedtl.observers.entering import Entering
from fedtl.observers.remembered import Remembered
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.results.detail import ClientRow
from fedtl.results.summary import WAYS
from fedtl.runs.clients import ClientsHere
from fedtl.runs.reference import scores_of_rows
from fedtl.runs.run import Run
from fedtl.transfer.head_file import TrainedHead
from fedtl.transfer.heads import head_of

_FIGURES = tuple(field.name for field in dataclasses.fields(Summary))


@dataclass(frozen=True)
class Scene:
    """What all runs over the same clients share.

    Attributes:
        sites: The clients.
        lone_heads: Remembers local-only heads and the centralised head.
        train_alone: Remembers the strategy's training on all data in one place.
    """

    sites: SimulatedSites
    lone_heads: LoneHeadsOnce
    train_alone: TrainAloneOnce


@dataclass(frozen=True)
class MakeScene:
    """Makes a :class:`Scene` in the process that needs it."""

    sites: SimulatedSites

    def __call__(self) -> Scene:
        """Return it."""
        return Scene(self.sites, LoneHeadsOnce(), TrainAloneOnce())


@dataclass(frozen=True)
class RunCell:
    """The work of one cell."""

    config: RunConfig

    def __call__(self, scene: Scene, enter: Enter) -> CellResult:
        """Run the federation and its references.

        Args:
            scene: The clients.
            enter: Receives unexpected exceptions, each of which costs one contribution.

        Raises:
            FedtlError: See :class:`Federation`.
        """
        run = Run(
            ClientsHere(self.config, scene.sites, scene.lone_heads),
            [Entering(enter)],
            lone_heads=scene.lone_heads,
            train_alone=scene.train_alone,
        )
        result = run.result()
        figures, detail = result.figures, result.detail
        assert detail is not None
        tested = bool(len(scene.sites.test))
        own = {way: _scores(figures[way]) for way in WAYS if figures[way] is not None}
        new = {way: _scores((figures["on_new_data"] or {}).get(way)) for way in own}
        ranked = new["federated"] or own["federated"]
        final = ranked["accuracy"] if result.trained is not None else None
        return CellResult(
            config=self.config.to_mapping(),
            global_head=result.trained is not None,
            own_data=own,
            new_data=new if tested else {},
            trained=[(_known(held), _known(test)) for held, test in detail.pooled_training],
            rounds=_points(run.remembered, final, tested=tested),
            marks=None if result.trained is None else _marks(result.trained, self.config, scene),
            clients=[_client(row) for row in detail.clients],
            failures=len(figures["failures"]),
            bytes_up=figures["bytes_up"],
            bytes_down=figures["bytes_down"],
            seconds=figures["seconds"]["rounds"],
            head_sha256=figures["head_sha256"],
        )


def _scores(told: Mapping[str, Any] | None) -> dict[str, float | None]:
    return {} if told is None else {name: _known(told[name]) for name in _FIGURES}


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _points(ran: Remembered, final: float | None, *, tested: bool) -> list[RoundPoint]:
    """Return the state after every round; ``final`` is the accuracy after the last.

    Without a global head the accuracy is ``None``.
    """
    points, sent = [], ran.bytes_before
    for row in ran.rounds:
        sent += row.bytes_up + row.bytes_down
        accuracy = None if final is None else row.test_accuracy if tested else row.accuracy
        points.append(RoundPoint(row.round, accuracy, sent))
    return [*points[:-1], dataclasses.replace(points[-1], accuracy=final)]


def _marks(head: TrainedHead, config: RunConfig, scene: Scene) -> Marks:
    """Return which of the ranking's examples the global head gets right."""
    sites = scene.sites
    rows = sites.test if len(sites.test) else np.concatenate(sites.held_out)
    data = sites.site(0).data
    form = head_of(config, features=data.features.shape[1], classes=data.classes)
    (score,) = scores_of_rows(form, dict(head.arrays), head.standardisation, data, [rows])
    return Marks.of(score.right, rows if sites.groups is None else sites.groups[rows])


def _client(row: ClientRow) -> ClientScore:
    return ClientScore(
        examples=row.examples,
        accuracies={way: score.accuracy for way, score in row.scores.items()},
        verdicts={way: gain.verdict for way, gain in row.gains.items() if gain.verdict is not None},
    )
