"""What a client does with a message, for one client or for a block of them at once.

Plain functions on Flower's messages: a real site calls :func:`answer` with its one message, an
actor of a simulation with all the messages of its clients and the layer of its scenario. The
replies are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import (
    ConfigRecord,
    Context,
    Message,
    MetricRecordValues,
    RecordDict,
)

import fedtl
import strategies
from fedtl.client.alone import LoneHeads, lone_heads
from fedtl.client.asked import Asked, arrays_sent, block_of, class_counts_told, heads_sent
from fedtl.client.client_memory import recall, remember
from fedtl.client.closing_scores import ClosingScores, closing_metrics
from fedtl.client.layer import Layer
from fedtl.client.release import released, without_content
from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.fault import Fault
from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.messages.failure_codes import DROPPED_OUT, NOT_OPENED, NOT_RELEASED
from fedtl.messages.reply_checks import ReplyChecks
from fedtl.preparation.site import OpenSite, Site
from fedtl.privacy.egress import EgressError
from fedtl.records import to_metrics, to_record
from fedtl.transfer.adjusted_loss import adjusted
from fedtl.transfer.heads import Tensors, head_of, one_thread
from fedtl.transfer.scoring import score_clients
from fedtl.transfer.standardisation import Moments
from strategies.base import Arrays, HeadStrategy, LabelledRows, Received
from strategies.base.head_strategy import ALL_ROWS, LEVERAGE_RECORD, SERVER_RECORD

_NO_LAYER = Layer()


class _Answer(NamedTuple):
    """A client's reply, and what it remembers once the reply may leave."""

    content: RecordDict
    memory: Arrays = {}  # noqa: RUF012 - nobody writes into it


def answer(
    messages: Sequence[Message],
    contexts: Sequence[Context],
    *,
    config: RunConfig,
    open_site: OpenSite,
    lone_heads: LoneHeads = lone_heads,
    layer: Layer = _NO_LAYER,
    caught: bool = True,
) -> list[Message]:
    """Return the reply to each message; all are of one kind, from one phase of the run.

    A client whose data cannot be opened, or whose reply may not leave, gets an error reply of its
    own; the other clients are not affected. Whatever else is raised, as by a strategy, is not
    caught.

    Args:
        messages: What is asked.
        contexts: Each client's.
        config: The run.
        open_site: Opens a client's data.
        lone_heads: Finds local-only heads.
        layer: What goes wrong in a simulation; nothing by default.
        caught: Whether an unexpected error while opening a client's data is an error reply, too.
    """
    replies: list[Message | None] = [None] * len(messages)
    sites: dict[int, Site] = {}
    for place, (message, context) in enumerate(zip(messages, contexts, strict=True)):
        try:
            site = open_site(context)
        except Exception as error:  # a site's own trouble, told to the server and to nobody else
            foreseen = isinstance(error, FedtlError)
            if not (foreseen or caught):
                raise
            reason = f"{type(error).__name__}: {error}" if foreseen else Fault.of(error).text
            replies[place] = without_content(message, NOT_OPENED, reason)
            continue
        training = message.metadata.message_type == phases.TRAIN
        if training and (absent := layer.absent(_round(message), site.data.partition_id)):
            replies[place] = without_content(message, DROPPED_OUT, absent)
        else:
            sites[place] = site
    if sites:
        data = next(iter(sites.values())).data
        width = data.features.shape[1]
        head = head_of(config, features=width, classes=data.classes)
        strategy = strategies.build(config, head)
        kind = messages[0].metadata.message_type
        declared = phases.declarations(strategy, width, data.classes)[kind]
        clients = [Asked(messages[place], contexts[place], site) for place, site in sites.items()]
        with one_thread(), torch.inference_mode():
            if kind == phases.EVALUATE:
                answers = _evaluate(clients, strategy, lone_heads)
            else:
                answers = _HANDLERS[kind](clients, strategy, layer)
        cards = {site.data.partition_id: _card(site, layer) for site in sites.values()}
        checks = ReplyChecks(strategy, cards)
        for (place, site), (content, memory) in zip(sites.items(), answers, strict=True):
            check = partial(checks.check, kind, site.data.partition_id)
            try:
                replies[place] = released(messages[place], content, declared=declared, check=check)
            except EgressError as error:
                # A client that diverged begins its next round as it began this one.
                replies[place] = without_content(messages[place], NOT_RELEASED, str(error))
            else:
                remember(contexts[place], memory)
    return [reply for reply in replies if reply is not None]


def _round(message: Message) -> int:
    return int(message.content["config"]["server-round"])  # type: ignore[arg-type]


def _handshake(clients: Sequence[Asked], strategy: HeadStrategy, layer: Layer) -> list[_Answer]:
    """Identify this client: version, backbone, classes, and how many examples of each."""
    answers = []
    for _, _, site in clients:
        data = site.data
        identity = ConfigRecord(
            {
                "fedtl-version": fedtl.__version__,
                "backbone-fingerprint": site.backbone_fingerprint,
                "feature-size": data.features.shape[1],
                "classes": list(site.class_names),
                "table-schema": site.table_schema,
            }
        )
        census = _card(site, layer).record()
        answers.append(_Answer(RecordDict({"identity": identity, "census": census})))
    return answers


def _card(site: Site, layer: Layer) -> SiteCard:
    """Return what a site reports of its data, with the labels that it learns."""
    return SiteCard.of(site, layer.labels_learnt(site.data))


def _moments(clients: Sequence[Asked], strategy: HeadStrategy, layer: Layer) -> list[_Answer]:
    """Sum the training features and their squares."""
    answers = []
    for _, _, site in clients:
        moments = Moments.of(site.data.features, site.data.train)
        arrays = to_record({"total": moments.total, "squares": moments.squares})
        metrics = to_metrics({"num-examples": moments.count})
        answers.append(_Answer(RecordDict({"moments": arrays, "metrics": metrics})))
    return answers


def _init(clients: Sequence[Asked], strategy: HeadStrategy, layer: Layer) -> list[_Answer]:
    """Compute the statistics of the closed form that the first round starts from."""
    starter = strategy.starter
    if starter is None:
        raise ValueError("init is not configured")
    block = layer.before_training(0, block_of(clients))
    found = starter.client_train(block, Received({}), 0)
    sent = layer.as_sent(_round(clients[0].message), block.partition_ids, {}, found)
    answers = []
    for (*_, site), trained in zip(clients, sent, strict=True):
        arrays = to_record(trained.arrays)
        metrics = to_metrics({"num-examples": len(site.data.train)})
        answers.append(_Answer(RecordDict({starter.reply_record: arrays, "metrics": metrics})))
    return answers


def _train(clients: Sequence[Asked], strategy: HeadStrategy, layer: Layer) -> list[_Answer]:
    """Score the incoming head on the held-out rows, then train from it."""
    block, head = block_of(clients), heads_sent(clients, strategy.head)
    received = Received(
        head=head,
        server=arrays_sent(clients, SERVER_RECORD, strategy.downlink) if strategy.downlink else {},
        memory=recall([context for _, context, _ in clients], strategy, head),
    )
    held_out = [site.data.held_out for *_, site in clients]
    scores = score_clients(strategy.head, strategy.scored(received), block, held_out)
    server_round = _round(clients[0].message)
    training = layer.before_training(server_round, block)
    if strategy.adjusts_loss:
        training = adjusted(training, class_counts_told(clients))
    trained = strategy.client_train(training, received, server_round)
    sent = layer.as_sent(server_round, block.partition_ids, head, trained)
    answers = []
    for (*_, site), score, result in zip(clients, scores, sent, strict=True):
        metrics: dict[str, MetricRecordValues] = {
            "num-examples": len(site.data.train),
            "train-loss": result.loss,
            "held-out": score.examples,
            "loss": score.loss,
            "accuracy": score.accuracy,
        }
        arrays = to_record(result.arrays)
        content = RecordDict({strategy.reply_record: arrays, "metrics": to_metrics(metrics)})
        answers.append(_Answer(content, result.memory))
    return answers


def _evaluate(
    clients: Sequence[Asked], strategy: HeadStrategy, lone_heads: LoneHeads
) -> list[_Answer]:
    """Score the final head, the local-only head and this client's personal head."""
    head = heads_sent(clients, strategy.head)
    memory = recall([context for _, context, _ in clients], strategy, head)
    received, data = Received(head, memory=memory), [site.data for *_, site in clients]
    told = clients[0].message.content["config"]
    training = _training_logits(clients, strategy, head) if told[ALL_ROWS] else None
    smallest = [site.smallest_cell for *_, site in clients]
    named = None
    if strategy.scores_zero_shot:
        named = arrays_sent(clients, phases.ZERO_SHOT_RECORD, ("weight", "bias"))
    closing = ClosingScores(
        strategy,
        block_of(clients),
        received,
        data,
        class_counts_told(clients),
        lone_heads,
        smallest,
        training=training,
        zero_shot=named,
    )
    answers = []
    for at, (*_, site) in enumerate(clients):
        metrics = closing_metrics(strategy, closing, at, site.data)
        answers.append(_Answer(RecordDict({"metrics": to_metrics(metrics)})))
    return answers


def _training_logits(
    clients: Sequence[Asked], strategy: HeadStrategy, head: Tensors
) -> list[torch.Tensor]:
    """Return what the final head says of each client's training rows, each left out of it.

    Nothing is left out for a client whose rows were not used for the head.
    """
    made = [one for one in clients if LEVERAGE_RECORD in one.message.content]
    leverage = arrays_sent(made, LEVERAGE_RECORD, strategy.leverage) if made else {}
    block, logits, at = block_of(clients), [], 0
    for client, one in enumerate(clients):
        lone = {name: value[client] for name, value in head.items()}
        rows = one.site.data.train
        if LEVERAGE_RECORD in one.message.content:
            own = {name: value[at] for name, value in leverage.items()}
            logits.append(strategy.left_out(LabelledRows.of(one.site.data, rows), lone, own))
            at += 1
        else:
            alone = block.select(np.array([client])).seen_by(strategy.head)
            here = alone.take(torch.from_numpy(rows)[None], slice(0, 1))
            stacked = {name: value[None] for name, value in lone.items()}
            logits.append(strategy.head.logits(stacked, here)[0].double())
    return logits


_HANDLERS: dict[str, Callable[[Sequence[Asked], HeadStrategy, Layer], list[_Answer]]] = {
    phases.HANDSHAKE: _handshake,
    phases.MOMENTS: _moments,
    phases.INIT: _init,
    phases.TRAIN: _train,
}
