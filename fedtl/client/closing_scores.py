"""What clients measure at the end of a run: the final head, local-only and personal heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from flwr.app import MetricRecordValues
from numpy.typing import NDArray
from torch import Tensor

from fedtl.client.alone import LoneHeads
from fedtl.client.left_out_scores import left_out_scores
from fedtl.client.own_mix import own_mix
from fedtl.messages import phases
from fedtl.statistics.calibration import Calibration
from fedtl.statistics.disclosure import Disclosed, disclosed_calibration
from fedtl.statistics.intervals import Clusters, Pairs
from fedtl.statistics.score_counts import packed_cells
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Head, LinearHead, Tensors
from fedtl.transfer.lone_head import METHODS
from fedtl.transfer.scoring import Score, score_clients
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, HeadStrategy, Received


class ClosingScores:
    """Every client's scores, by the prefix that their metrics get.

    Args:
        strategy: With its head's form.
        block: The clients, standardised as the server says.
        received: The final head and what clients remember.
        clients: What they hold.
        everyone: All clients' examples of each class, shape ``(K,)``.
        lone_heads: Finds their local-only heads.
        smallest_cells: Smaller counts of each client's tables do not leave.
        training: What the final head says of each client's training rows, each left out of it,
            shape ``(n, K)``; ``None`` if held-out rows alone are scored.
        zero_shot: A linear head of the classes' names, on features as they are, each
            ``(C, *shape)``; ``None`` if the run has none.

    Attributes:
        own_rows: What each client's own data is scored on: held-out rows, after training rows.
        scores: By prefix, one per client.
        told: What leaves of them, likewise.
        calibration: Of the shared head on own held-out rows, one per client, if a temperature is
            fitted to it.
        methods: What each client's local-only head was solved by, an index into ``METHODS``.
    """

    def __init__(
        self,
        strategy: HeadStrategy,
        block: ClientBlock,
        received: Received,
        clients: Sequence[ClientData],
        everyone: NDArray[np.int64],
        lone_heads: LoneHeads,
        smallest_cells: Sequence[int],
        *,
        training: Sequence[Tensor] | None = None,
        zero_shot: Tensors | None = None,
    ) -> None:
        self._smallest = smallest_cells
        self.scores: dict[str, list[Score]] = {}
        self._strategy, self._block, self._clients = strategy, block, clients
        head = strategy.head
        held_out = [client.held_out for client in clients]
        test = [client.test for client in clients]
        alone = lone_heads(strategy.config, clients, training is not None)
        self.methods = [METHODS.index(one.method) for one in alone]
        self._score_own("local-only-", alone)
        self.own_rows = held_out
        if strategy.global_head:
            keep = block.classes <= phases.CONFUSION_CLASSES
            self.scores[""] = score_clients(head, received.head, block, held_out, keep_logits=keep)
            self.scores["test-"] = _score_on_common(head, received.head, block, test)
            own = own_mix(
                strategy, block, received.head, clients, everyone, training, keep_logits=keep
            )
            self.scores["corrected-"] = own.held_out
            if strategy.config.prior_correction:
                self.scores["personal-"] = own.held_out
                self.scores["personal-test-"] = score_clients(
                    head, received.head, block, test, own.adjustment, keep_logits=keep
                )
            if training is not None:
                also = left_out_scores(
                    strategy, clients, training, alone, everyone, own.left_out, keep_logits=keep
                )
                for prefix, scores in also.items():
                    pairs = zip(scores, self.scores[prefix], strict=True)
                    self.scores[prefix] = [first + then for first, then in pairs]
                self.own_rows = [np.concatenate([one.left_out, one.held_out]) for one in clients]
        if strategy.personalises and not strategy.config.prior_correction:
            theirs = strategy.personal_heads(block, received, alone)
            self._score_own("personal-" if strategy.global_head else "", theirs)
        if strategy.config.holdout_site:
            unseen = [client.unseen for client in clients]
            self.scores["unseen-"] = _score_on_common(head, received.head, block, unseen)
            self.scores["local-only-unseen-"] = self._scores_of(alone, unseen)
        if zero_shot is not None:
            self._score_named(zero_shot)
        self._tell()

    def _tell(self) -> None:
        """Count what is asked for, and free all logits."""
        strategy = self._strategy
        self.told: dict[str, list[Disclosed]] = {}
        self.calibration: list[Calibration] = []
        few = self._block.classes <= phases.CONFUSION_CLASSES
        binned = phases.binned_scores_of(strategy) if few else ()
        shared = strategy.outputs in ("probability", "log-odds")
        alone = [METHODS[method] != "ridge" for method in self.methods]
        for prefix, scores in self.scores.items():
            # What is read with own frequencies of classes has had its scale fitted.
            corrected = prefix == "corrected-" or (
                prefix == "personal-" and strategy.config.prior_correction
            )
            sure_all = shared or corrected or prefix.startswith("zero-shot-")
            each = alone if prefix == "local-only-" else [sure_all] * len(alone)
            found: dict[tuple[int, int], Disclosed] = {}
            for score, smallest, sure in zip(scores, self._smallest, each, strict=True):
                # One score of rows that are nobody's may stand for all clients.
                if (id(score), smallest) not in found:
                    found[id(score), smallest] = Disclosed.of(
                        score, smallest, binned=prefix in binned, probabilities=sure
                    )
            self.told[prefix] = [
                found[id(score), smallest]
                for score, smallest in zip(scores, self._smallest, strict=True)
            ]
        if few and phases.fits_temperature(strategy):
            self.calibration = [
                disclosed_calibration(score, smallest)
                for score, smallest in zip(self.scores[""], self._smallest, strict=True)
            ]
        for prefix, scores in self.scores.items():
            self.scores[prefix] = [replace(score, logits=None) for score in scores]

    def _score_own(self, prefix: str, heads: Sequence[AloneHead]) -> None:
        self.scores[prefix] = self._scores_of(heads, [one.held_out for one in self._clients])
        self.scores[prefix + "test-"] = self._scores_of(heads, [one.test for one in self._clients])

    def _score_named(self, zero_shot: Tensors) -> None:
        """Score the head of the classes' names: all rows are new to it."""
        width = self._clients[0].features.shape[1]
        form = LinearHead(width, self._block.classes)
        raw = self._block.standardised([Standardisation.identity(width)])
        keep = self._block.classes <= phases.CONFUSION_CLASSES
        own = score_clients(form, zero_shot, raw, self.own_rows, keep_logits=keep)
        self.scores["zero-shot-"] = own
        common = {"test-": [client.test for client in self._clients]}
        if self._strategy.config.holdout_site:
            common["unseen-"] = [client.unseen for client in self._clients]
        for prefix, rows in common.items():
            self.scores["zero-shot-" + prefix] = _score_on_common(form, zero_shot, raw, rows)

    def _scores_of(
        self, heads: Sequence[AloneHead], rows: Sequence[NDArray[np.int64]]
    ) -> list[Score]:
        there = self._block.standardised([one.standardisation for one in heads])
        form = heads[0].form or self._strategy.head
        keep = self._block.classes <= phases.CONFUSION_CLASSES
        return score_clients(form, _stacked(heads), there, rows, keep_logits=keep)


def closing_metrics(
    strategy: HeadStrategy, closing: ClosingScores, at: int, client: ClientData
) -> dict[str, MetricRecordValues]:
    """Return the metrics in which a client sends its scores: :func:`phases.evaluate_keys`.

    Args:
        strategy: The run's.
        closing: The scores of some clients.
        at: Which of them this is.
        client: What it holds.
    """
    rows = {"": closing.own_rows[at], "test-": client.test, "unseen-": client.unseen}
    few = client.classes <= phases.CONFUSION_CLASSES
    confusion_of = phases.confusion_of(strategy)
    metrics: dict[str, MetricRecordValues] = {"local-only-method": closing.methods[at]}
    for prefix, scores in closing.scores.items():
        score, told = scores[at], closing.told[prefix][at]
        scored = next(part for part in ("test-", "unseen-", "") if prefix.endswith(part))
        groups = None if client.groups is None else client.groups[rows[scored]]
        metrics[prefix + "num-examples"] = score.examples
        metrics[prefix + "loss"] = told.loss
        metrics[prefix + "accuracy"] = score.accuracy
        metrics[prefix + "correct"] = told.correct.tolist()
        metrics[prefix + "examples"] = score.examples_per_class.tolist()
        metrics[prefix + "clusters"] = list(Clusters.of(score.right, groups).values())
        if prefix in confusion_of and few:
            metrics[prefix + "confusion"] = told.confusion.ravel().tolist()
        if (counts := told.counts) is not None:
            binned = (
                packed_cells(counts.cells),
                packed_cells(told.rare),
                counts.predicted.astype(int).tolist(),
                counts.packed_probabilities(),
            )
            metrics |= {
                prefix + key: value for key, value in zip(phases.FIELD_KEYS, binned, strict=True)
            }
    if few and phases.fits_temperature(strategy):
        calibration = closing.calibration[at]
        told_by_temperature = (calibration.losses.tolist(), calibration.gaps.ravel().tolist())
        metrics |= dict(zip(phases.TEMPERATURE_KEYS, told_by_temperature, strict=True))
    groups = None if client.groups is None else client.groups[closing.own_rows[at]]
    alone = closing.scores["local-only-"][at].right
    for prefix in phases.paired_heads(strategy):
        pairs = Pairs.of(alone, closing.scores[prefix][at].right, groups)
        metrics[prefix + "pairs"] = list(pairs.values())
    return metrics


def _score_on_common(
    head: Head, parameters: Tensors, block: ClientBlock, common: Sequence[NDArray[np.int64]]
) -> list[Score]:
    """Score on rows that belong to no client; in a simulation each head once."""
    keep = block.classes <= phases.CONFUSION_CLASSES
    one_head = all(value.stride(0) == 0 for value in parameters.values())
    if not (one_head and all(rows is common[0] for rows in common)):
        return score_clients(head, parameters, block, common, keep_logits=keep)
    first = block.select(np.zeros(1, np.int64))
    lone = {name: value[:1] for name, value in parameters.items()}
    return score_clients(head, lone, first, common[:1], keep_logits=keep) * len(common)


def _stacked(heads: Sequence[AloneHead]) -> Tensors:
    return {
        name: torch.from_numpy(
            np.stack([head.arrays[name] for head in heads]).astype(np.float32, copy=False)
        )
        for name in heads[0].arrays
    }
