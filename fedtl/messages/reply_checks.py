"""Checks of what a client sends against what it sent before: at the client, then at the server.

A declaration says which records leave and of what form. This file checks what a form cannot state:
that numbers agree with one another, with the census of the handshake and with what was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping

import numpy as np
from flwr.app import MetricRecord, RecordDict

from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.messages.closing_checks import closing_fault
from fedtl.privacy.egress import EgressError
from fedtl.records import array_record, config_record, from_record, metric_record
from strategies.base import Arrays, HeadStrategy
from strategies.base.head_strategy import ALL_ROWS, SERVER_RECORD
from strategies.base.plausible import Told, norm, wrong_moments


class ReplyChecks:
    """The checks of a run: the same at both ends.

    Args:
        strategy: With its head's form.
        cards: What clients told of their data, by partition id.
        sizes: Receives the size of a client's contribution, by partition id: see
            ``HeadStrategy.size``.
    """

    def __init__(
        self,
        strategy: HeadStrategy,
        cards: Mapping[int, SiteCard],
        sizes: MutableMapping[int, float] | None = None,
    ) -> None:
        self._strategy, self._cards = strategy, cards
        self._size = 0.0
        self._sizes = {} if sizes is None else sizes
        self._kept: tuple[RecordDict | None, Arrays, Arrays] = (None, {}, {})
        self._checks: Mapping[str, Callable[[RecordDict, SiteCard, RecordDict], str]] = {
            phases.MOMENTS: self._moments,
            phases.INIT: self._init,
            phases.TRAIN: self._train,
            phases.EVALUATE: self._closing,
        }

    def check(self, kind: str, client: int, reply: RecordDict, instruction: RecordDict) -> None:
        """Check a reply that has its declared form.

        Args:
            kind: Of message.
            client: Partition id.
            reply: The content of the reply.
            instruction: The content of what it replies to.

        Raises:
            EgressError: Its numbers contradict one another, or what the client told before.
        """
        card = self._cards[client]
        if kind not in self._checks:
            return
        if kind != phases.EVALUATE:
            examples = metric_record(reply, "metrics")["num-examples"]
            if examples != card.examples:
                raise EgressError(
                    f"num-examples = {examples}, but the site first reported {card.examples:,}"
                )
        if fault := self._checks[kind](reply, card, instruction):
            raise EgressError(fault)
        self._sizes[client] = self._size

    def _moments(self, reply: RecordDict, card: SiteCard, instruction: RecordDict) -> str:
        arrays = from_record(array_record(reply, "moments"))
        self._size = norm(arrays) / max(card.examples, 1)
        return wrong_moments(arrays["total"], arrays["squares"], card.examples)

    def _init(self, reply: RecordDict, card: SiteCard, instruction: RecordDict) -> str:
        starter = self._strategy.starter
        if starter is None:
            return "init is not configured"
        arrays = from_record(array_record(reply, starter.reply_record))
        told = Told(card.examples, card.label_counts, {}, {})
        self._size = starter.size(arrays, told)
        return starter.implausible(arrays, told)

    def _train(self, reply: RecordDict, card: SiteCard, instruction: RecordDict) -> str:
        metrics = metric_record(reply, "metrics")
        if fault := _score_fault(metrics, card):
            return fault
        head, server = self._sent(instruction)
        arrays = from_record(array_record(reply, self._strategy.reply_record))
        told = Told(card.examples, card.label_counts, head, server)
        self._size = self._strategy.size(arrays, told)
        return self._strategy.implausible(arrays, told)

    def _closing(self, reply: RecordDict, card: SiteCard, instruction: RecordDict) -> str:
        every_row = bool(config_record(instruction, "config")[ALL_ROWS])
        return closing_fault(metric_record(reply, "metrics"), self._strategy, card, every_row)

    def _sent(self, instruction: RecordDict) -> tuple[Arrays, Arrays]:
        """Return the head and what else was sent; a message to many clients is read once."""
        kept, head, server = self._kept
        if kept is not instruction:
            head = from_record(array_record(instruction, "arrays"))
            server = {}
            if SERVER_RECORD in instruction:
                server = from_record(array_record(instruction, SERVER_RECORD))
            self._kept = (instruction, head, server)
        return head, server


def _score_fault(metrics: MetricRecord, card: SiteCard) -> str:
    """Check the score of the incoming head."""
    held_out, accuracy, loss = (metrics[key] for key in ("held-out", "accuracy", "loss"))
    if held_out != card.held_out:
        return f"held-out = {held_out}, but the site first reported {card.held_out:,}"
    if held_out:
        right = float(accuracy) * card.held_out  # type: ignore[arg-type]
        if math.isnan(float(loss)) or not abs(right - np.rint(right)) < 1e-3:  # type: ignore[arg-type]
            return f"loss = {loss} and accuracy = {accuracy} are impossible for {held_out:,} rows"
    elif not (math.isnan(float(loss)) and math.isnan(float(accuracy))):  # type: ignore[arg-type]
        return "it reports a score without held-out rows"
    return ""
