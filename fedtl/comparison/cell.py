"""One run of a comparison, in one process: the same federation as a simulation's, without a folder.

All clients are answered inline; that a simulation with Ray actors gives the same bytes is the
engine's contract.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from fedtl.client.alone import LoneHeads, LoneHeadsOnce, TrainAloneOnce
from fedtl.comparison.marks import Marks
from fedtl.comparison.result import CellResult, ClientScore, RoundPoint
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients, inline_grid
from fedtl.fault import Enter, Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import Summary, on_new_data, on_own_data
from fedtl.federation.journal import Row
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.privacy.egress import LedgerEntry
from fedtl.results.result import ClientRow
from fedtl.results.summary import client_rows, ways_scored
from fedtl.runs.reference import TestScore, centralised_reference, scores_of_rows
from fedtl.scenario.adversity import attackers
from fedtl.transfer.head_file import TrainedHead


@dataclass(frozen=True)
class Scene:
    """What all runs over the same clients look at.

    Attributes:
        sites: The clients.
        lone_heads: Remembers the best heads of clients alone, and of all data in one place.
        train_alone: Remembers what training makes of all data in one place.
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


@dataclass
class _Memory:
    """A journal that only remembers what a comparison shows.

    Attributes:
        enter: Is told of exceptions.
    """

    enter: Enter
    rows: list[Row] = field(default_factory=list)
    bytes_before: int = 0

    def enter_egress(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what was sent before the first round."""
        self.bytes_before += sum(entry.bytes for entry in entries if entry.server_round == 0)

    def enter_round(self, row: Row, rounds: int) -> None:
        """Keep the round's facts."""
        self.rows.append(row)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep nothing: a run that is cut off takes seconds to do again."""

    def warn(self, text: str) -> None:
        """Tell nobody: failures are counted in the outcome."""

    def enter_fault(self, server_round: int, client: int, fault: Fault) -> None:
        """Pass an exception on."""
        self.enter(f"round {server_round}, client {client}", fault)

    def waits(self, text: str) -> None:
        """Tell nobody: runs go side by side."""


@dataclass(frozen=True)
class RunCell:
    """The work of one cell."""

    config: RunConfig

    def __call__(self, scene: Scene, enter: Enter) -> CellResult:
        """Run the federation and what it is held against.

        Args:
            scene: The clients.
            enter: Is told of exceptions that nobody foresaw, each of which costs one contribution.

        Raises:
            FedtlError: See :class:`Federation`.
        """
        config = self.config.replace(clients=len(scene.sites.train))
        outcome, journal = federate(config, scene.sites, scene.lone_heads, enter)
        clients = [scene.sites.site(client).data for client in range(config.clients)]
        centralised = centralised_reference(
            outcome.strategy, clients, scene.lone_heads, scene.train_alone
        )
        identity = outcome.roll.identity
        head = TrainedHead(
            outcome.arrays, outcome.standardisation, identity.classes, identity.fingerprint
        )
        ways = ways_scored(outcome, centralised)
        hostile = attackers(config)
        names = [f"client-{client}" for client in range(config.clients)]
        rows = client_rows(outcome, centralised, names, hostile)
        own = {way: _scores(on_own_data(list(told.values()))) for way, told in ways.items()}
        new = {way: _scores(on_new_data(list(told.values()))) for way, told in ways.items()}
        ranked = new["federated"] or own["federated"]
        return CellResult(
            config=self.config.to_mapping(),
            global_head=outcome.strategy.global_head,
            own_data=own,
            new_data=new if len(scene.sites.test) else {},
            trained=[(_known(held), _known(test)) for held, test in centralised.trained],
            rounds=_points(
                journal,
                ranked["accuracy"] if outcome.strategy.global_head else None,
                tested=bool(len(scene.sites.test)),
            ),
            marks=_marks(outcome, scene.sites),
            clients=[_client(row) for row in rows],
            failures=len(outcome.failures),
            bytes_up=outcome.bytes_up,
            bytes_down=outcome.bytes_down,
            seconds=math.fsum(outcome.seconds),
            head_sha256=head.sha256(),
        )


def federate(
    config: RunConfig, sites: SimulatedSites, lone_heads: LoneHeads, enter: Enter
) -> tuple[Outcome, _Memory]:
    """Run a federation of these sites in this process."""
    app = FedtlClients(config, sites, lone_heads)
    journal = _Memory(enter)
    federation = Federation(
        inline_grid(config, app),
        config,
        journal,
        expected=sites.identity,
        score_test=TestScore(config, sites) if len(sites.test) else None,
        caught=config.catches,
    )
    return federation.run(), journal


def _scores(summary: Summary | None) -> dict[str, float | None]:
    if summary is None:
        return {}
    told = asdict(summary)
    return {name: _known(value) for name, value in told.items()}


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _points(journal: _Memory, final: float | None, *, tested: bool) -> list[RoundPoint]:
    """Return the state after every round; ``final`` is the accuracy after the last.

    Without a global head there is nothing to score.
    """
    points, sent = [], journal.bytes_before
    for row in journal.rows:
        sent += row["bytes_up"] + row["bytes_down"]
        accuracy = None if final is None else row["test_accuracy" if tested else "accuracy"]
        points.append(RoundPoint(row["round"], accuracy, sent))
    return [*points[:-1], dataclasses.replace(points[-1], accuracy=final)]


def _marks(outcome: Outcome, sites: SimulatedSites) -> Marks | None:
    """Return which examples the global head gets right, those that it is ranked by."""
    if not outcome.strategy.global_head:
        return None
    rows = sites.test if len(sites.test) else np.concatenate(sites.held_out)
    (score,) = scores_of_rows(
        outcome.strategy.head, outcome.arrays, outcome.standardisation, sites.site(0).data, [rows]
    )
    return Marks.of(score.right, rows if sites.groups is None else sites.groups[rows])


def _client(row: ClientRow) -> ClientScore:
    return ClientScore(
        examples=row.examples,
        accuracies={way: score.accuracy for way, score in row.scores.items()},
        verdicts={way: gain.verdict for way, gain in row.gains.items() if gain.verdict is not None},
    )
