"""A federation from handshake to closing evaluation, on any of Flower's grids."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Protocol

import numpy as np
from flwr.app import ConfigRecord, MetricRecord
from flwr.serverapp import Grid

import strategies
from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.federation import phases
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.client import head_for
from fedtl.federation.client_memory import SimulatedStates, memories_of, states_of
from fedtl.federation.evaluation import ClientEvaluation, RoundScore
from fedtl.federation.exchange import Exchange, Failure, Phase
from fedtl.federation.handshake import Identity, Roll, handshake, wait_for_nodes
from fedtl.federation.journal import Journal, Row
from fedtl.federation.outcome import Outcome
from fedtl.federation.quorum import Quorum
from fedtl.federation.round_zero import closed_form_start, learn_standardisation
from fedtl.records import from_record, to_record
from fedtl.transfer.heads import one_thread
from fedtl.transfer.standardisation import Standardisation
from strategies.base import Arrays, HeadStrategy


class TestScorer(Protocol):
    """Scores a head on the data's own test split, where whoever runs the server holds it."""

    def __call__(self, arrays: Arrays, standardisation: Standardisation | None) -> float:
        """Return the accuracy, a fraction."""
        ...


class Federation:
    """One run of the server's side.

    Args:
        grid: Carries the messages: our engine's, or the one Flower gives a server app.
        config: The run.
        journal: Where it is written down.
        expected: What every site must have in common, where the server knows it.
        score_test: Scores a head on the data's test split every round; optional.
        patience: Seconds to wait for the clients to connect.
        reply_timeout: Seconds to wait for a phase's replies; ``None`` leaves that to the grid.
        simulated: Holds the clients' states, where they are simulated; checkpoints then hold them.
        quorum: How many sites must take part, where they are real.
    """

    def __init__(
        self,
        grid: Grid,
        config: RunConfig,
        journal: Journal,
        *,
        expected: Identity | None = None,
        score_test: TestScorer | None = None,
        patience: float = 60.0,
        reply_timeout: float | None = None,
        simulated: SimulatedStates | None = None,
        quorum: Quorum | None = None,
    ) -> None:
        self._simulated, self._quorum = simulated, quorum
        self._grid, self._config, self._journal = grid, config, journal
        self._expected, self._score_test = expected, score_test
        self._patience, self._reply_timeout = patience, reply_timeout
        self._bytes_up = self._bytes_down = 0
        self._seconds: list[float] = []
        self._failures: list[tuple[int, int, str]] = []

    def run(self, resume: Checkpoint | None = None) -> Outcome:
        """Run from the start, or from after a checkpoint's round, to the closing evaluation.

        Raises:
            FedtlError: Too few clients connect, or none is left.
        """
        config = self._config
        nodes = wait_for_nodes(
            self._grid, config.clients, patience=self._patience, waits=self._journal.waits
        )
        if self._simulated is None:
            self._journal.waits("waiting for all clients to read their data")
        roll = handshake(self._grid, nodes, config.clients, self._expected)
        if self._quorum is not None:
            self._quorum.admit(roll, config.clients)
        head = head_for(
            config, features=roll.identity.feature_size, classes=len(roll.identity.classes)
        )
        strategy = strategies.build(config, head)
        declared = phases.declarations(
            strategy, roll.identity.feature_size, len(roll.identity.classes)
        )
        exchange = Exchange(
            self._grid,
            roll.partitions,
            declared,
            {
                phases.TRAIN: RoundScore.read,
                phases.EVALUATE: partial(ClientEvaluation.read, classes=len(roll.identity.classes)),
            },
            timeout=self._reply_timeout,
        )
        with one_thread():
            if resume is None:
                self._admit(roll)
                standardisation = None
                if strategy.standardises:
                    standardisation = learn_standardisation(exchange, roll.identity.feature_size)
                    self._settle(exchange.phase, 0)
                arrays: Arrays = dict(head.initial(config.head_init, config.seed))
                if strategy.starter is not None:
                    arrays = closed_form_start(exchange, strategy.starter, standardisation)
                    self._settle(exchange.phase, 0)
                done, pending = 0, None
            else:
                self._recall(resume)
                arrays, standardisation = resume.arrays, resume.standardisation
                strategy.restore_server_state(resume.server_state)
                if self._simulated is not None:
                    self._simulated.restore(states_of(resume.memories, roll.partitions))
                done, pending = resume.server_round, resume.pending
            if standardisation is not None:
                exchange.standardisation = to_record(asdict(standardisation))
            rounds = 1 if strategy.one_round else config.rounds
            while done < rounds and not strategy.finished:
                done += 1
                arrays, pending = self._round(
                    exchange, strategy, arrays, standardisation, done, rounds, pending
                )
            closing = time.perf_counter()
            self._journal.waits("scoring all heads")
            phase = self._evaluate(exchange, strategy, arrays, done, pending, roll)
        return Outcome.of(
            phase.metrics,
            strategy=strategy,
            arrays=arrays,
            standardisation=standardisation,
            roll=roll,
            rounds=done,
            failures=self._failures,
            bytes_up=self._bytes_up,
            bytes_down=self._bytes_down,
            seconds=self._seconds,
            closing_seconds=time.perf_counter() - closing,
        )

    def _admit(self, roll: Roll) -> None:
        self._journal.enter_egress(roll.entries)
        self._bytes_up, self._bytes_down = roll.bytes_up, roll.bytes_down
        self._note_failures(0, roll.refused)

    def _recall(self, checkpoint: Checkpoint) -> None:
        self._bytes_up, self._bytes_down = checkpoint.bytes_up, checkpoint.bytes_down
        self._seconds = list(checkpoint.seconds)
        self._failures = list(checkpoint.failures)

    def _round(
        self,
        exchange: Exchange,
        strategy: HeadStrategy,
        arrays: Arrays,
        standardisation: Standardisation | None,
        server_round: int,
        rounds: int,
        pending: Row | None,
    ) -> tuple[Arrays, Row]:
        """Score the head as it is, train it, make it safe."""
        self._gather(exchange)
        began = time.perf_counter()
        messages = strategy.configure_train(
            server_round, to_record(arrays), ConfigRecord(), exchange
        )
        replies = exchange.send_and_receive(messages)
        aggregated, metrics = strategy.aggregate_train(server_round, replies)
        for _ in replies:
            continue  # a strategy may stop reading; the ledger must not
        phase = exchange.phase
        if pending is not None:
            self._journal.enter_round(pending | _scores(phase.metrics), rounds)
        if aggregated is None:
            self._journal.warn(f"Round {server_round}: no client's contribution was usable.")
        else:
            arrays = from_record(aggregated)
        self._settle(phase, server_round)
        self._seconds.append(time.perf_counter() - began)
        row = self._facts(phase, server_round, metrics)
        if self._score_test is not None and strategy.global_head:
            row["test_accuracy"] = self._score_test(arrays, standardisation)
        self._journal.keep(
            Checkpoint(
                server_round=server_round,
                arrays=arrays,
                standardisation=standardisation,
                server_state=strategy.server_state(),
                pending=row,
                bytes_up=self._bytes_up,
                bytes_down=self._bytes_down,
                seconds=self._seconds,
                failures=self._failures,
                memories={}
                if self._simulated is None
                else memories_of(self._simulated.states(), exchange.partitions),
            )
        )
        return arrays, row

    def _facts(self, phase: Phase, server_round: int, metrics: MetricRecord | None) -> Row:
        loss = float(metrics["train-loss"]) if metrics else float("nan")  # type: ignore[arg-type]
        return {
            "round": server_round,
            "clients": len(phase.clients),
            "train_loss": None if np.isnan(loss) else loss,
            "test_accuracy": None,
            "failed": [asdict(failure) for failure in phase.failures],
            "bytes_up": phase.bytes_up,
            "bytes_down": phase.bytes_down,
            "seconds": self._seconds[-1],
        }

    def _evaluate(
        self,
        exchange: Exchange,
        strategy: HeadStrategy,
        arrays: Arrays,
        rounds: int,
        pending: Row | None,
        roll: Roll,
    ) -> Phase:
        """Score the final head, and what each client would have got alone."""
        self._gather(exchange)
        told = ConfigRecord({phases.CLASS_COUNTS: list(roll.class_counts)})
        messages = strategy.configure_evaluate(rounds + 1, to_record(arrays), told, exchange)
        replies = exchange.send_and_receive(messages)
        strategy.aggregate_evaluate(rounds + 1, replies)
        for _ in replies:
            continue  # as in a round
        phase = exchange.phase
        if not phase.metrics:
            raise FedtlError(f"No client could score the final head: {phase.failures[0].reason}.")
        self._settle(phase, rounds + 1)
        if pending is not None:
            scored = {client: one.round_score for client, one in phase.metrics.items()}
            self._journal.enter_round(pending | _scores(scored), rounds)
        return phase

    def _gather(self, exchange: Exchange) -> None:
        if self._quorum is not None:
            self._quorum.gather(self._grid, exchange.partitions, self._journal.waits)

    def _settle(self, phase: Phase, server_round: int) -> None:
        """Enter a finished phase: its ledger, its bytes, its failures."""
        self._journal.enter_egress(phase.entries)
        self._bytes_up += phase.bytes_up
        self._bytes_down += phase.bytes_down
        self._note_failures(server_round, phase.failures)
        if self._quorum is not None:
            self._quorum.check(phase)

    def _note_failures(self, server_round: int, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._failures.append((server_round, failure.client, failure.reason))
            if not failure.intended:
                text = f"Round {server_round}, client {failure.client}: {failure.reason}"
                self._journal.warn(text)


def _scores(told: dict[int, RoundScore]) -> Row:
    """Return the round's three accuracies and loss from the clients' held-out scores."""
    scored = [(one.held_out, one.loss, one.accuracy) for one in told.values() if one.held_out]
    if not scored:
        empty = ("loss", "accuracy", "mean_client_accuracy", "worst_client_accuracy")
        return dict.fromkeys(empty)
    count, loss, accuracy = (np.array(column, np.float64) for column in zip(*scored, strict=True))
    return {
        "loss": float(loss @ count / count.sum()),
        "accuracy": float(accuracy @ count / count.sum()),
        "mean_client_accuracy": float(accuracy.mean()),
        "worst_client_accuracy": float(accuracy.min()),
    }
