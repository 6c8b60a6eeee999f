"""One run from configuration to result, for every way to run and all observers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fedtl.client.alone import LoneHeads, TrainAlone, lone_heads, train_alone
from fedtl.engine.memory import MemoryWatch
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation
from fedtl.observers.early_stopping import EarlyStopping
from fedtl.observers.observer import Began, Observer
from fedtl.observers.pseudonyms import read_pseudonyms, warnings_of
from fedtl.observers.remembered import Remembered
from fedtl.observers.run_folder import RunFolder
from fedtl.observers.together import Observers
from fedtl.results.centralised import Centralised
from fedtl.results.gathering import Told, result_of
from fedtl.results.over_seeds import SeedScores
from fedtl.results.pictures import panel_of, samples_of
from fedtl.results.result import RunResult
from fedtl.results.unseen import UnseenSite
from fedtl.runs.clients import Clients, Ready
from fedtl.runs.reference import TestScore, centralised_reference


@dataclass(frozen=True)
class Repeats:
    """Results of the same run under other conditions.

    Attributes:
        other_seeds: With other seeds.
        unseen_sites: Each without one site, scored on that site.
        seconds: Seconds that each took.
    """

    other_seeds: Sequence[SeedScores] = ()
    unseen_sites: Sequence[UnseenSite] = ()
    seconds: dict[str, float] = field(default_factory=dict)


Repeat = Callable[[Ready, Observers], Repeats]
"""Runs again over the same data, after the federation."""


class Run:
    """One run: prepare the clients, run the federation, make the result.

    Args:
        clients: Where its clients are.
        observers: Who watches it.
        folder: The run folder, first of all observers; ``None`` for a run without one.
        repeat: Further runs over the same data.
        lone_heads: Finds local-only heads, and the centralised head.
        train_alone: Trains all data in one place as the strategy does.
        began: When the command began, as :func:`time.perf_counter` counts; now if it is not known.
    """

    def __init__(
        self,
        clients: Clients,
        observers: Iterable[Observer] = (),
        *,
        folder: RunFolder | None = None,
        repeat: Repeat | None = None,
        lone_heads: LoneHeads = lone_heads,
        train_alone: TrainAlone = train_alone,
        began: float | None = None,
    ) -> None:
        self._clients, self._folder, self._repeat = clients, folder, repeat
        self._lone_heads, self._train_alone = lone_heads, train_alone
        self._began = time.perf_counter() if began is None else began
        self._watch = MemoryWatch()
        self.remembered = Remembered() if folder is None else folder.remembered
        written = [] if folder is None else [folder]
        caught = folder is None or folder.catches
        self.observers = Observers([self.remembered, *written, *observers], caught=caught)

    def federate(self, checkpoint: Checkpoint | None = None) -> tuple[Outcome, Ready, float]:
        """Make the clients ready and run the federation.

        Args:
            checkpoint: Where it continues; ``None`` for the start.

        Returns:
            The outcome, the clients, and when they were ready.

        Raises:
            FedtlError: Any part failed; every message is one sentence.
        """
        try:
            ready = self._clients.prepare(self.observers)
            started = time.perf_counter()
            self._watch.sample()
            if ready.config.patience:
                self.observers.add(EarlyStopping(ready.config.patience))
            path = None if self._folder is None else self._folder.path
            self.observers.began(Began(ready.config, path, tuple(self.remembered.rounds)))
            sites = ready.sites
            outcome = Federation(
                ready.grid,
                ready.config,
                self.observers,
                expected=None if sites is None else sites.identity,
                score_test=None
                if sites is None or not len(sites.test)
                else TestScore(ready.config, sites),
                patience=ready.patience,
                reply_timeout=ready.reply_timeout,
                simulated=ready.simulated,
                quorum=ready.quorum,
                caught=ready.config.catches,
            ).run(checkpoint)
            self._watch.sample()
        except BaseException as error:
            self._clients.abandon(error)
            raise
        self._clients.release()
        return outcome, ready, started

    def result(self, checkpoint: Checkpoint | None = None) -> RunResult:
        """Run, and pass the result to all observers.

        Args:
            checkpoint: Where it continues; ``None`` for the start.

        Raises:
            FedtlError: Any part failed; every message is one sentence.
        """
        outcome, ready, started = self.federate(checkpoint)
        federated = time.perf_counter()
        centralised = self._pooled(outcome, ready)
        self._watch.sample()
        solved = time.perf_counter()
        repeats = Repeats() if self._repeat is None else self._repeat(ready, self.observers)
        rounds = math.fsum(outcome.seconds)
        before = math.fsum(checkpoint.seconds) if checkpoint is not None else 0.0
        features = 0.0 if ready.held is None else ready.held.seconds
        seconds = {
            "total": time.perf_counter() - self._began,
            "start_up": started - self._began - features,
            "features": features,
            "handshake": federated - started - (rounds - before) - outcome.closing_seconds,
            "rounds": rounds,
            "closing": outcome.closing_seconds,
            "reference": solved - federated,
            **repeats.seconds,
        }
        result = replace(
            result_of(
                ready.config if self._folder is None else self._folder.config,
                outcome,
                centralised,
                self._told(ready, repeats, seconds),
            ),
            path=None if self._folder is None else self._folder.path,
        )
        self.observers.phase("writing the report")
        self.observers.ended(result)
        if self._folder is not None:
            self._folder.seal()
        return result

    def _pooled(self, outcome: Outcome, ready: Ready) -> Centralised | None:
        """Return the centralised reference, if all data is in one place."""
        if ready.sites is None:
            return None
        self.observers.phase("solving the centralised reference")
        if ready.held is not None:
            return ready.held.pooled.reference(outcome.strategy)
        clients = [ready.sites.site(client).data for client in range(ready.config.clients)]
        return centralised_reference(outcome.strategy, clients, self._lone_heads, self._train_alone)

    def _told(self, ready: Ready, repeats: Repeats, seconds: dict[str, float]) -> Told:
        folder, held = self._folder, ready.held
        names = [
            f"{name} (hostile)" if client in ready.hostile else name
            for client, name in enumerate(ready.names)
        ]
        told = Told(
            client_names=names,
            rounds=self.remembered.rounds,
            egress=self.remembered.egress_totals(),
            warnings=self.remembered.warnings if folder is None else warnings_of(folder),
            seconds=seconds,
            peak_mb=self._watch.peak_mb,
            hostile=ready.hostile,
            other_seeds=repeats.other_seeds,
            unseen_sites=repeats.unseen_sites,
        )
        if held is None:
            return told
        told = replace(
            told,
            understood=held.understood,
            scale=held.inputs.scale,
            schema=held.inputs.schema,
        )
        count = ready.config.pictures
        if folder is None or not count:
            return told
        return replace(
            told,
            samples=samples_of(held.inputs.dataset, held.split, count),
            panel=panel_of(
                held.inputs.dataset,
                read_pseudonyms(folder) if folder.config.pseudonyms else None,
            ),
        )
