"""What clients measure at the end of a run: the final head, and the heads that are theirs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from flwr.app import MetricRecordValues
from numpy.typing import NDArray

from fedtl.federation import phases
from fedtl.federation.alone import TrainAlone
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.scoring import Score, score_clients
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, HeadStrategy, Received


def closing_scores(
    strategy: HeadStrategy,
    block: ClientBlock,
    received: Received,
    clients: Sequence[ClientData],
    train_alone: TrainAlone,
) -> dict[str, list[Score]]:
    """Return every client's scores, by the prefix that their metrics get.

    Args:
        strategy: With its head's form.
        block: The clients, standardised as the server says.
        received: The final head and what clients remember.
        clients: What they hold.
        train_alone: Trains the heads that they would have got alone.
    """
    head = strategy.head
    held_out = [client.held_out for client in clients]
    test = [client.test for client in clients]
    scored: dict[str, list[Score]] = {}
    if strategy.global_head:
        scored[""] = score_clients(head, received.head, block, held_out)
        scored["test-"] = _score_on_common(head, received.head, block, test)

    def score_own(prefix: str, heads: Sequence[AloneHead]) -> tuple[Tensors, ClientBlock]:
        parameters = _stacked(heads)
        there = block.standardised([one.standardisation for one in heads])
        scored[prefix] = score_clients(head, parameters, there, held_out)
        scored[prefix + "test-"] = score_clients(head, parameters, there, test)
        return parameters, there

    width = block.features.shape[1]
    alone = train_alone(strategy, block.standardised([Standardisation.identity(width)]))
    local_only, lone_block = score_own("local-only-", alone)
    if strategy.personalises:
        own = strategy.personal_heads(block, received, alone)
        score_own("personal-" if strategy.global_head else "", own)
    if strategy.config.holdout_site:
        unseen = [client.unseen for client in clients]
        scored["unseen-"] = _score_on_common(head, received.head, block, unseen)
        scored["local-only-unseen-"] = score_clients(head, local_only, lone_block, unseen)
    return scored


def closing_metrics(
    strategy: HeadStrategy, scores: Mapping[str, Score]
) -> dict[str, MetricRecordValues]:
    """Return the metrics in which a client tells its scores: :func:`phases.evaluate_keys`."""
    confusion_of = phases.confusion_of(strategy)
    metrics: dict[str, MetricRecordValues] = {}
    for prefix, score in scores.items():
        metrics[prefix + "num-examples"] = score.examples
        metrics[prefix + "loss"] = score.loss
        metrics[prefix + "accuracy"] = score.accuracy
        metrics[prefix + "correct"] = score.correct_per_class.tolist()
        metrics[prefix + "examples"] = score.examples_per_class.tolist()
        if prefix in confusion_of and score.classes <= phases.CONFUSION_CLASSES:
            metrics[prefix + "confusion"] = score.confusion.ravel().tolist()
    return metrics


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


def _stacked(heads: Sequence[AloneHead]) -> Tensors:
    return {
        name: torch.from_numpy(
            np.stack([head.arrays[name] for head in heads]).astype(np.float32, copy=False)
        )
        for name in heads[0].arrays
    }
