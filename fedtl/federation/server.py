"""A federation from handshake to closing evaluation, on any of Flower's grids."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid

import strategies
from fedtl.client.client_memory import SimulatedStates, memories_of, states_of
from fedtl.config import RunConfig
from fedtl.errors import FedtlError, ImpossibleTotalError, first_line
from fedtl.fault import placed
from fedtl.federation.account import Account
from fedtl.federation.asking import asked
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import ClientEvaluation, RoundScore
from fedtl.federation.exchange import Errors, Exchange, Phase
from fedtl.federation.handshake import Roll, handshake, wait_for_nodes
from fedtl.federation.journal import Journal
from fedtl.federation.outcome import Outcome
from fedtl.federation.quorum import Quorum
from fedtl.federation.round_row import Round
from fedtl.federation.round_zero import closed_form_start, learn_standardisation
from fedtl.federation.same_network import check_blocks, check_texts
from fedtl.federation.totals import largest_named, total_fault
from fedtl.federation.zero_shot import give_texts, texts_of
from fedtl.kinds import ZERO_SHOT
from fedtl.messages import phases
from fedtl.messages.reply_checks import ReplyChecks
from fedtl.preparation.site import Identity
from fedtl.records import from_record, to_record
from fedtl.scenario.adversity import drops_out
from fedtl.transfer.client_block import takes_below
from fedtl.transfer.heads import head_of, one_thread
from fedtl.transfer.standardisation import Standardisation
from fedtl.unforeseen import is_let_through
from strategies.base import Arrays, HeadStrategy

# What numpy and PyTorch raise for a system that has no solution.
_SINGULAR = (np.linalg.LinAlgError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]

TestScorer = Callable[[Arrays, Standardisation | None], float]
"""Returns a head's accuracy, a fraction, on a test split that the server's owner holds."""


class Federation:
    """One run of the server's side.

    Args:
        grid: Carries the messages: our engine's, or the one Flower gives a server app.
        config: The run.
        journal: Receives what happens.
        expected: What every site must have in common, where the server knows it.
        score_test: Scores a head on the data's test split every round; optional.
        patience: Seconds to wait for the clients to connect.
        reply_timeout: Seconds to wait for a phase's replies; ``None`` leaves that to the grid.
        simulated: Holds the clients' states if they are simulated; checkpoints then hold them.
        quorum: How many sites must take part, if they are real.
        caught: Whether an unexpected error from one client's reply costs only that client.
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
        caught: bool = True,
    ) -> None:
        self._simulated, self._quorum = simulated, quorum
        self._errors = Errors(journal.faulted, believed=quorum is None, caught=caught)
        self._grid, self._config, self._journal = grid, config, journal
        self._expected, self._score_test = expected, score_test
        self._patience, self._reply_timeout = patience, reply_timeout
        self._account = Account(journal)

    def run(self, resume: Checkpoint | None = None) -> Outcome:
        """Run from the start, or from after a checkpoint's round, to the closing evaluation.

        Raises:
            FedtlError: Too few clients connect, or no client is left.
            ImpossibleTotalError: A strategy of one round has no head to fall back on.
        """
        config = self._config
        nodes = wait_for_nodes(
            self._grid, config.clients, patience=self._patience, waits=self._journal.phase
        )
        if self._simulated is None:
            self._journal.phase("waiting for all clients to read their data")
        roll = handshake(self._grid, nodes, config.clients, self._expected, self._errors)
        if self._quorum is not None:
            self._quorum.admit(roll, config.clients)
        width, classes = roll.identity.feature_size, len(roll.identity.classes)
        head = head_of(config, features=width, classes=classes)
        check_blocks(head, roll.identity)
        strategy = strategies.build(config, head)
        declared = phases.declarations(strategy, width, classes)
        if strategy.scores_zero_shot:
            if self._expected is None:
                check_texts(config, roll.identity)
            give_texts(strategy, texts_of(config, roll.identity.classes))
        if strategy.forewarning:
            self._journal.warned(strategy.forewarning)
        checks = ReplyChecks(strategy, roll.cards, self._account.sizes)
        exchange = Exchange(
            self._grid,
            roll.partitions,
            declared,
            {
                phases.TRAIN: RoundScore.read,
                phases.EVALUATE: partial(ClientEvaluation.read, classes=classes),
            },
            timeout=self._reply_timeout,
            check=checks.check,
            drops_out=partial(drops_out, config),
            errors=self._errors,
        )
        with one_thread():
            if resume is None:
                self._account.admit(roll)
                standardisation = None
                if strategy.standardises:
                    standardisation = asked(
                        self._account, exchange, lambda: learn_standardisation(exchange, width)
                    )
                    if takes_below(head):
                        standardisation = standardisation.of_trained_blocks()
                    self._settle(exchange.phase, 0, self._quorum)
                arrays: Arrays = dict(head.initial(config.head_init, config.seed))
                if (starter := strategy.starter) is not None:
                    started = asked(
                        self._account,
                        exchange,
                        lambda: closed_form_start(exchange, starter, standardisation),
                    )
                    if fault := total_fault(started, {name: arrays[name] for name in started}):
                        raise FedtlError(
                            f"What clients sent for the start gives no usable head: {fault}"
                            f"{largest_named(self._account.sizes)}."
                        )
                    arrays |= started
                    self._settle(exchange.phase, 0, self._quorum)
                elif config.init == ZERO_SHOT:
                    raw = Standardisation.identity(width)
                    arrays |= strategy.named_start(standardisation or raw)
                done, pending = 0, None
            else:
                self._account.recall(resume)
                arrays, standardisation = resume.arrays, resume.standardisation
                strategy.restore_server_state(resume.server_state)
                if self._simulated is not None:
                    self._simulated.restore(states_of(resume.memories, roll.partitions))
                done, pending = resume.server_round, resume.pending
            if standardisation is not None:
                exchange.standardisation = to_record(asdict(standardisation))
            rounds = 1 if strategy.one_round else config.most_rounds
            while done < rounds and not (strategy.finished or self._journal.stopped):
                done += 1
                arrays, pending = self._round(
                    exchange, strategy, arrays, standardisation, done, rounds, pending, roll
                )
            closing = time.perf_counter()
            self._journal.phase("scoring all heads")
            phase = self._evaluate(exchange, strategy, arrays, done, pending, roll)
        return Outcome.of(
            phase.metrics,
            strategy=strategy,
            arrays=arrays,
            standardisation=standardisation,
            roll=roll,
            rounds=done,
            failures=self._account.failures,
            bytes_up=self._account.bytes_up,
            bytes_down=self._account.bytes_down,
            seconds=self._account.seconds,
            closing_seconds=time.perf_counter() - closing,
        )

    def _round(
        self,
        exchange: Exchange,
        strategy: HeadStrategy,
        arrays: Arrays,
        standardisation: Standardisation | None,
        server_round: int,
        rounds: int,
        pending: Round | None,
        roll: Roll,
    ) -> tuple[Arrays, Round]:
        """Score the incoming head, train it, write a checkpoint."""
        self._gather(exchange, self._quorum)
        began = time.perf_counter()

        def ask() -> tuple[ArrayRecord | None, MetricRecord | None]:
            told = ConfigRecord()
            if strategy.adjusts_loss:
                told[phases.CLASS_COUNTS] = list(roll.class_counts)
            messages = strategy.configure_train(server_round, to_record(arrays), told, exchange)
            replies = exchange.send_and_receive(messages)
            try:
                return strategy.aggregate_train(server_round, replies)
            finally:
                for _ in replies:
                    continue  # a strategy may stop reading; the ledger must not

        before, fault = strategy.server_state(), ""
        try:
            aggregated, metrics = (
                asked(self._account, exchange, ask) if strategy.one_round else ask()
            )
        except (ImpossibleTotalError, *_SINGULAR) as error:
            last = strategy.one_round and isinstance(error, ImpossibleTotalError)
            if last or is_let_through(error):
                raise
            aggregated, metrics, fault = None, None, first_line(error).rstrip(".") + placed(error)
        phase = exchange.phase
        if pending is not None:
            self._journal.round(pending.scored(phase.metrics), rounds)
        found = arrays if aggregated is None else from_record(aggregated)
        if fault := fault or total_fault(found, arrays, scaled=not strategy.one_round):
            strategy.restore_server_state(before)
            self._account.take_back(server_round, fault)
        elif aggregated is None:
            self._journal.warned(f"Round {server_round}: no client's contribution was usable.")
        else:
            arrays = found
        self._settle(phase, server_round, self._quorum)
        self._account.seconds.append(time.perf_counter() - began)
        row = Round.of(phase, server_round, metrics, self._account.seconds[-1])
        if self._score_test is not None and strategy.global_head:
            score = self._score_test(arrays, standardisation)
            row = replace(row, test_accuracy=score)
        self._journal.checkpoint(
            Checkpoint(
                server_round=server_round,
                arrays=arrays,
                standardisation=standardisation,
                server_state=strategy.server_state(),
                pending=row,
                bytes_up=self._account.bytes_up,
                bytes_down=self._account.bytes_down,
                seconds=self._account.seconds,
                failures=self._account.failures,
                memories={}
                if self._simulated is None
                else memories_of(self._simulated.states(), exchange.partitions),
            )
        )
        return arrays, row

    def _evaluate(
        self,
        exchange: Exchange,
        strategy: HeadStrategy,
        arrays: Arrays,
        rounds: int,
        pending: Round | None,
        roll: Roll,
    ) -> Phase:
        """Score the final head, and each client's local-only head."""
        closing = None if self._quorum is None else self._quorum.closing
        self._gather(exchange, closing)
        told = ConfigRecord({phases.CLASS_COUNTS: list(roll.class_counts)})
        messages = strategy.configure_evaluate(rounds + 1, to_record(arrays), told, exchange)
        if strategy.texts is not None:
            record = to_record(strategy.texts.sent)
            messages = list(messages)
            for message in messages:
                message.content[phases.ZERO_SHOT_RECORD] = record
        replies = exchange.send_and_receive(messages)
        strategy.aggregate_evaluate(rounds + 1, replies)
        for _ in replies:
            continue  # as in a round
        phase = exchange.phase
        if not phase.metrics:
            raise FedtlError(f"No client could score the final head: {phase.failures[0].reason}.")
        self._settle(phase, rounds + 1, closing)
        if self._quorum is not None and (short := self._quorum.short_of(phase)):
            self._journal.warned(short)
        if pending is not None:
            scored = {client: one.round_score for client, one in phase.metrics.items()}
            self._journal.round(pending.scored(scored), rounds)
        return phase

    def _gather(self, exchange: Exchange, quorum: Quorum | None) -> None:
        if quorum is not None:
            quorum.gather(self._grid, exchange.partitions, self._journal.phase)

    def _settle(self, phase: Phase, server_round: int, quorum: Quorum | None) -> None:
        self._account.settle(phase, server_round)
        if quorum is not None:
            quorum.check(phase)
