"""Honest clients whose every reply is measured against the server's limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from flwr.app import Context, Message

import strategies
from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.messages.reply_checks import ReplyChecks
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.privacy.egress import EgressError
from fedtl.records import array_record, config_record, from_record, metric_record
from fedtl.transfer.heads import head_of
from strategies.base import Arrays, HeadStrategy
from strategies.base.plausible import Told, norm, scale_of

# Limits on ratios that are seen of every strategy.
COLUMNS = ("reply", "median", "total", "share")
_LADDER = [2.0 ** (step / 4) for step in range(-40, 80)]


@dataclass
class Seen:
    """What was seen of one strategy.

    Attributes:
        runs: How many runs.
        replies: How many replies with numbers that are checked.
        alarms: False alarms about an honest run, by kind.
        largest: The largest ratio of each column, and where.
        dominated: Runs in which one client was reported to have nearly all examples.
    """

    runs: int = 0
    replies: int = 0
    alarms: Counter[str] = field(default_factory=Counter)
    largest: dict[str, tuple[float, str]] = field(default_factory=dict)
    dominated: int = 0

    def note(self, column: str, ratio: float, where: str) -> None:
        """Keep the largest ratio of a column."""
        if ratio > self.largest.get(column, (0.0, ""))[0]:
            self.largest[column] = (ratio, where)


class Watched:
    """Clients whose every reply is checked as the server does, and measured.

    Args:
        config: The run.
        sites: The clients' data.
        lone_heads: Of many runs over the same clients.
    """

    def __init__(self, config: RunConfig, sites: SimulatedSites, lone_heads: LoneHeadsOnce) -> None:
        self.clients = FedtlClients(config, sites, lone_heads)
        width, classes = sites.features.shape[1], len(sites.class_names)
        head = head_of(config, features=width, classes=classes)
        self.strategy = strategies.build(config, head)
        self._config, self._head = config, head
        self._limited: dict[int, HeadStrategy] = {}
        self._sizes: dict[int, float] = {}
        self.cards: dict[int, SiteCard] = {}
        self._checks = ReplyChecks(self.strategy, self.cards, self._sizes)
        self.replies, self.reply = 0, 0.0
        self.sizes: dict[tuple[str, int], dict[int, float]] = {}
        self.heads: dict[int, Arrays] = {}

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        """Return the clients' replies."""
        replies = self.clients(messages, contexts)
        for message, context, reply in zip(messages, contexts, replies, strict=True):
            if reply.has_content():
                self._look(message, reply, int(context.node_config["partition-id"]))
        return replies

    def _look(self, message: Message, reply: Message, client: int) -> None:
        kind, content = message.metadata.message_type, message.content
        if kind == phases.HANDSHAKE:
            census = metric_record(reply.content, "census")
            self.cards[client] = SiteCard.read(census, len(self.clients.sites.class_names))
            return
        self.replies += 1
        try:
            self._checks.check(kind, client, reply.content, content)
        except EgressError:
            return  # the server counts it
        if kind == phases.EVALUATE:
            return
        server_round = int(config_record(content, "config")["server-round"])  # type: ignore[arg-type]
        self.sizes.setdefault((kind, server_round), {})[client] = self._sizes[client]
        if kind == phases.TRAIN and not self.strategy.one_round:
            head = self.heads.setdefault(server_round, from_record(array_record(content, "arrays")))
            arrays = from_record(array_record(reply.content, self.strategy.reply_record))
            card = self.cards[client]
            told = Told(card.examples, card.label_counts, head, {})
            self.reply = max(self.reply, self._needed(arrays, told))

    def _needed(self, arrays: Arrays, told: Told) -> float:
        """Return the least reply-limit of the ladder that does not refuse a reply."""
        low, high = 0, len(_LADDER)
        while low < high:
            middle = (low + high) // 2
            if middle not in self._limited:
                config = self._config.replace(reply_limit=_LADDER[middle])
                self._limited[middle] = strategies.build(config, self._head)
            if "reply-limit" in self._limited[middle].implausible(arrays, told):
                low = middle + 1
            else:
                high = middle
        return _LADDER[low] if low < len(_LADDER) else np.inf

    def ratios(self, final: Arrays) -> Iterator[tuple[str, float]]:
        """Yield the largest ratio of each column, given the head that came of the run."""
        yield "reply", self.reply
        for sizes in self.sizes.values():
            usual = median(sizes.values())
            if usual > 0 and len(sizes) > 2:
                yield "median", max(sizes.values()) / usual
        heads = [*(self.heads[at] for at in sorted(self.heads)), final]
        if self.heads and final.keys() == heads[0].keys():
            for before, after in pairwise(heads):
                yield "total", norm(after) / scale_of(before)
        everyone = sum(card.examples for card in self.cards.values())
        yield "share", max(card.examples for card in self.cards.values()) / everyone


class Heard:
    """A journal that keeps only warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)

    stopped = False

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def alarm_of(warning: str) -> str:
    """Return the kind of alarm of a warning; empty for other warnings."""
    if "median of all clients'" in warning:
        return "stood out"
    if "is taken back" in warning:
        return "taken back"
    if "averages weighted by examples" in warning:
        return "dominated"
    return "refused" if warning.startswith("Round") else ""
