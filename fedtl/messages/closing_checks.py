"""Checks of a client's closing scores: counts that do not add up, or exceed what it has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flwr.app import MetricRecord
from numpy.typing import NDArray

from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.statistics.calibration import CALIBRATION_BINS
from fedtl.statistics.intervals import Clusters, Pairs
from fedtl.statistics.score_counts import BINS, packed_size, told_classes
from strategies.base import HeadStrategy

# Scores are sums of rounded numbers.
_ROUNDING = 1e-6


def closing_fault(
    metrics: MetricRecord, strategy: HeadStrategy, card: SiteCard, every_row: bool
) -> str:
    """Return what is wrong, as a clause; empty if nothing is.

    Args:
        metrics: Of the forms that :func:`phases.evaluate_forms` declares.
        strategy: The run's.
        card: What the client told of its data.
        every_row: Whether training rows are scored as well.
    """
    values: dict[str, Any] = dict(metrics)
    scored: dict[str, tuple[str, list[int]]] = {}
    for prefix in phases.scores_told(strategy):
        if fault := _score_fault(values, prefix):
            return f"{prefix or 'its own '}score: {fault}"
        # What is scored on the same rows is of the same examples.
        part = next((part for part in ("test-", "unseen-") if prefix.endswith(part)), "")
        examples = values[prefix + "examples"]
        first, before = scored.setdefault(part, (prefix, examples))
        if before != examples:
            return f"{first or 'its own '} and {prefix} scores count different examples"
    own = values["examples"]
    if any(n > most for n, most in zip(own, card.label_counts, strict=True)):
        return "it scored more examples of a class than the site first reported"
    if sum(own) < card.held_out or (sum(own) > card.held_out and not every_row):
        return f"it scored {sum(own):,} examples, but reported {card.held_out:,} held out"
    if phases.TEMPERATURE_KEYS[1] in values:
        gaps = np.abs(np.array(values[phases.TEMPERATURE_KEYS[1]])).reshape(-1, CALIBRATION_BINS)
        if gaps.sum(1).max() > sum(own) + _ROUNDING:
            return "calibration counts more examples than were scored"
    for prefix in phases.paired_heads(strategy):
        alone, ours = (Clusters(*values[p + "clusters"]) for p in ("local-only-", prefix))
        if fault := _pairs_fault(Pairs(*values[prefix + "pairs"]), alone, ours):
            return f"{prefix}pairs: {fault}"
    return ""


def _score_fault(values: dict[str, Any], prefix: str) -> str:
    """Check one head's score on one set of rows."""
    n, examples = values[prefix + "num-examples"], values[prefix + "examples"]
    correct, accuracy = values[prefix + "correct"], values[prefix + "accuracy"]
    clusters = Clusters(*values[prefix + "clusters"])
    if sum(examples) != n:
        return f"examples of classes add up to {sum(examples):,}, not to {n:,}"
    if any(right > of for right, of in zip(correct, examples, strict=True)):
        return "more of a class are correct than there are"
    if fault := _clusters_fault(clusters, n):
        return fault
    unknown = math.isnan(accuracy), math.isnan(values[prefix + "loss"])
    if unknown != (not n, not n):
        return "it has a score without examples, or examples without a score"
    if n and not abs(accuracy * n - clusters.correct) <= _ROUNDING * n:
        return f"accuracy = {accuracy} contradicts {clusters.correct:,} right of {n:,}"
    if prefix + "confusion" in values:
        table = np.array(values[prefix + "confusion"], np.int64).reshape(len(examples), -1)
        if fault := _confusion_fault(table, examples, correct):
            return fault
    if prefix + "score-bins" in values:
        return _binned_fault(values, prefix, examples)
    return ""


def _clusters_fault(told: Clusters, n: int) -> str:
    """Check sums over groups: G groups of n examples, none empty."""
    sound = (
        told.examples == n
        and told.correct <= n
        and min(n, 1) <= told.groups <= n
        and n * n <= told.square_examples * max(told.groups, 1)
        and told.square_examples <= n * n
        and told.square_correct <= told.cross <= told.square_examples
        and told.cross**2 <= told.square_correct * told.square_examples
        and told.correct <= told.square_correct
    )
    return "" if sound else "its sums over groups contradict one another"


def _confusion_fault(table: NDArray[np.int64], examples: list[int], correct: list[int]) -> str:
    """Check a confusion matrix: a row counts its class's examples, or is empty if not sent."""
    rows = table.sum(1).tolist()
    for of, row, right, hit in zip(examples, rows, correct, table.diagonal().tolist(), strict=True):
        if row not in (0, of) if right < 0 else (row, hit) != (of, right):
            return f"its confusion matrix has {row:,} examples of a class of {of:,}"
    return ""


def _binned_fault(values: dict[str, Any], prefix: str, examples: list[int]) -> str:
    """Check binned scores: the declared number of cells, no more examples than were scored."""
    cells, rare, predicted, sure = (values[prefix + key] for key in phases.FIELD_KEYS)
    rows, n = len(told_classes(len(examples))), sum(examples)
    if packed_size(cells) != rows * 2 * BINS or packed_size(rare) != BINS:
        return "binned scores do not have the declared number of cells"
    told = sum(cell for cell in cells if cell > 0)
    if told > rows * n or sum(cell for cell in rare if cell > 0) > n or sum(predicted) > n:
        return "binned scores count more examples than were scored"
    if len(sure) not in (1, 1 + 3 * CALIBRATION_BINS):
        return "calibration does not have the declared number of bins"
    if sure[0] > (len(examples) + 1) * n or sum(sure[1 : 1 + CALIBRATION_BINS]) > n + _ROUNDING:
        return "calibration counts more examples than were scored"
    counts, right, confidence = np.array(sure[1:] or [0.0] * 3).reshape(3, -1)
    most = counts * (1 + _ROUNDING) + _ROUNDING
    return (
        ""
        if (right <= most).all() and (confidence <= most).all()
        else ("calibration has a bin with more right or surer than it has examples")
    )


def _pairs_fault(pairs: Pairs, alone: Clusters, ours: Clusters) -> str:
    """Check what two heads got right of the same examples against each head's own score."""
    sound = (
        min(pairs.values()[:9]) >= 0
        and pairs.examples == alone.examples == ours.examples
        and pairs.both + pairs.only_other == alone.correct
        and pairs.both + pairs.only_ours == ours.correct
        and pairs.groups == ours.groups
        and pairs.groups_other + pairs.groups_ours <= pairs.groups
        and pairs.square_examples == ours.square_examples
        and pairs.square_ahead <= pairs.square_examples
        and pairs.cross**2 <= pairs.square_ahead * pairs.square_examples
    )
    return "" if sound else "they contradict one another or the scores"
