"""What a client does with a message, for one client or for a block of them at once.

Plain functions on Flower's messages: a real site calls :func:`answer` with its one message, an
actor of a simulation with all the messages of its clients. The replies are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from flwr.app import (
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    MetricRecordValues,
    RecordDict,
)
from numpy.typing import NDArray

import fedtl
import strategies
from fedtl.config import RunConfig
from fedtl.federation import phases
from fedtl.federation.site import OpenSite, Site
from fedtl.privacy.egress import EgressError, release
from fedtl.records import array_record, from_record, to_metrics, to_record
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors, build_head, one_thread
from fedtl.transfer.scoring import Score, score_clients
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import AloneHead, HeadStrategy

# Flower's code for a client app that raised an exception.
CLIENT_APP_RAISED = 2


def head_for(config: RunConfig, *, features: int, classes: int) -> Head:
    """Return the form of the configured head for d features and K classes."""
    return build_head(
        config.head,
        features=features,
        classes=classes,
        hidden_units=config.hidden_units,
        cosine_scale=config.cosine_scale,
    )


def answer(
    messages: Sequence[Message],
    contexts: Sequence[Context],
    *,
    config: RunConfig,
    open_site: OpenSite,
) -> list[Message]:
    """Return the reply to each message; all are of one kind, from one phase of the run.

    A client whose data cannot be opened, or whose reply may not leave, gets an error reply of its
    own; the others are not concerned.
    """
    replies: list[Message | None] = [None] * len(messages)
    sites: dict[int, Site] = {}
    for place, context in enumerate(contexts):
        try:
            sites[place] = open_site(context)
        except Exception as error:  # a site's own trouble, told to the server and to nobody else
            replies[place] = _error(messages[place], f"{type(error).__name__}: {error}")
    if sites:
        members = list(sites.values())
        width = members[0].data.features.shape[1]
        head = head_for(config, features=width, classes=members[0].data.classes)
        strategy = strategies.build(config, head)
        kind = messages[0].metadata.message_type
        declared = phases.declarations(strategy, width, members[0].data.classes)[kind]
        with one_thread(), torch.inference_mode():
            contents = _HANDLERS[kind]([messages[place] for place in sites], members, strategy)
        for place, content in zip(sites, contents, strict=True):
            try:
                replies[place] = Message(release(content, declared), reply_to=messages[place])
            except EgressError as error:
                replies[place] = _error(messages[place], str(error))
    return [reply for reply in replies if reply is not None]


def _error(message: Message, reason: str) -> Message:
    return Message(Error(CLIENT_APP_RAISED, reason), reply_to=message)


def _handshake(
    messages: Sequence[Message], sites: Sequence[Site], strategy: HeadStrategy
) -> list[RecordDict]:
    """Say who we are: version, backbone, classes, and how many examples of each."""
    contents = []
    for site in sites:
        data = site.data
        own = np.concatenate([data.train, data.held_out])
        counts = np.bincount(data.labels[torch.from_numpy(own)].numpy(), minlength=data.classes)
        identity = ConfigRecord(
            {
                "fedtl-version": fedtl.__version__,
                "backbone-fingerprint": site.backbone_fingerprint,
                "feature-size": data.features.shape[1],
                "classes": list(site.class_names),
            }
        )
        census = MetricRecord(
            {
                "partition-id": data.partition_id,
                "num-examples": len(data.train),
                "held-out": len(data.held_out),
                "label-counts": counts.tolist(),
            }
        )
        contents.append(RecordDict({"identity": identity, "census": census}))
    return contents


def _moments(
    messages: Sequence[Message], sites: Sequence[Site], strategy: HeadStrategy
) -> list[RecordDict]:
    """Sum the training features and their squares."""
    contents = []
    for site in sites:
        moments = Moments.of(site.data.features, site.data.train)
        arrays = to_record({"total": moments.total, "squares": moments.squares})
        metrics = to_metrics({"num-examples": moments.count})
        contents.append(RecordDict({"moments": arrays, "metrics": metrics}))
    return contents


def _train(
    messages: Sequence[Message], sites: Sequence[Site], strategy: HeadStrategy
) -> list[RecordDict]:
    """Score the incoming head on the held-out part, then train from it."""
    block = _block(messages, sites)
    parameters = _parameters(messages, strategy.head)
    held_out = [site.data.held_out for site in sites]
    scores = score_clients(strategy.head, parameters, block, held_out)
    server_round = int(messages[0].content["config"]["server-round"])  # type: ignore[arg-type]
    trained = strategy.client_train(block, parameters, server_round)
    return [
        RecordDict(
            {
                strategy.reply_record: to_record(result.arrays),
                "metrics": to_metrics(
                    {
                        "num-examples": len(site.data.train),
                        "train-loss": result.loss,
                        "held-out": score.examples,
                        "loss": score.loss,
                        "accuracy": score.accuracy,
                    }
                ),
            }
        )
        for site, score, result in zip(sites, scores, trained, strict=True)
    ]


def _evaluate(
    messages: Sequence[Message], sites: Sequence[Site], strategy: HeadStrategy
) -> list[RecordDict]:
    """Score the final head, and beside it the head that this client would have got alone."""
    block = _block(messages, sites)
    head = strategy.head
    federated = _parameters(messages, head)
    alone = strategy.train_alone(_unstandardised(block))
    lone_block = block.standardised([one.standardisation for one in alone])
    local_only = _stacked(alone)
    held_out = [site.data.held_out for site in sites]
    test = [site.data.test for site in sites]
    scored = {
        "": score_clients(head, federated, block, held_out),
        "test-": _score_on_common(head, federated, block, test),
        "local-only-": score_clients(head, local_only, lone_block, held_out),
        "local-only-test-": score_clients(head, local_only, lone_block, test),
    }
    if strategy.config.holdout_site:
        unseen = [site.data.unseen for site in sites]
        scored |= {
            "unseen-": _score_on_common(head, federated, block, unseen),
            "local-only-unseen-": score_clients(head, local_only, lone_block, unseen),
        }
    return [
        RecordDict({"metrics": to_metrics(_metrics({k: v[at] for k, v in scored.items()}))})
        for at in range(len(sites))
    ]


def _score_on_common(
    head: Head, parameters: Tensors, block: ClientBlock, common: Sequence[NDArray[np.int64]]
) -> list[Score]:
    """Score on rows that are nobody's; in a simulation one head on one set of them, once."""
    one_head = all(value.stride(0) == 0 for value in parameters.values())
    if not (one_head and all(rows is common[0] for rows in common)):
        return score_clients(head, parameters, block, common)
    first = block.select(np.zeros(1, np.int64))
    lone = {name: value[:1] for name, value in parameters.items()}
    return score_clients(head, lone, first, common[:1]) * len(common)


def _metrics(scores: dict[str, Score]) -> dict[str, MetricRecordValues]:
    metrics: dict[str, MetricRecordValues] = {}
    for prefix, score in scores.items():
        metrics[prefix + "num-examples"] = score.examples
        metrics[prefix + "loss"] = score.loss
        metrics[prefix + "accuracy"] = score.accuracy
        metrics[prefix + "correct"] = score.correct_per_class.tolist()
        metrics[prefix + "examples"] = score.examples_per_class.tolist()
        if prefix in phases.CONFUSION_OF and score.classes <= phases.CONFUSION_CLASSES:
            metrics[prefix + "confusion"] = score.confusion.ravel().tolist()
    return metrics


def _block(messages: Sequence[Message], sites: Sequence[Site]) -> ClientBlock:
    """Return the clients' training rows, standardised as the server says."""
    first = sites[0].data
    block = ClientBlock(
        features=first.features,
        labels=first.labels,
        rows=[site.data.train for site in sites],
        partition_ids=[site.data.partition_id for site in sites],
        classes=first.classes,
        mean=torch.zeros(1, first.features.shape[1]),
        scale=torch.ones(1, first.features.shape[1]),
    )
    if "standardisation" not in messages[0].content:
        return block
    arrays = from_record(array_record(messages[0].content, "standardisation"))
    return block.standardised([Standardisation(arrays["mean"], arrays["scale"])])


def _unstandardised(block: ClientBlock) -> ClientBlock:
    return block.standardised([Standardisation.identity(block.features.shape[1])])


def _parameters(messages: Sequence[Message], head: Head) -> Tensors:
    """Return the heads sent, each ``(C, *shape)``; a head sent to many is read once."""
    seen: dict[int, dict[str, torch.Tensor]] = {}
    heads = []
    for message in messages:
        record = array_record(message.content, "arrays")
        if id(record) not in seen:
            seen[id(record)] = {
                name: torch.from_numpy(value.astype(np.float32))
                for name, value in from_record(record).items()
            }
        heads.append(seen[id(record)])
    if len(seen) == 1:
        return {n: v.expand(len(heads), *v.shape) for n, v in heads[0].items() if n in head.shapes}
    return {name: torch.stack([one[name] for one in heads]) for name in head.shapes}


def _stacked(heads: Sequence[AloneHead]) -> Tensors:
    return {
        name: torch.from_numpy(
            np.stack([head.arrays[name] for head in heads]).astype(np.float32, copy=False)
        )
        for name in heads[0].arrays
    }


_HANDLERS: dict[
    str, Callable[[Sequence[Message], Sequence[Site], HeadStrategy], list[RecordDict]]
] = {
    phases.HANDSHAKE: _handshake,
    phases.MOMENTS: _moments,
    phases.TRAIN: _train,
    phases.EVALUATE: _evaluate,
}
