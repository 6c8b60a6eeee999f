"""Closing scores: what data gives is believed, and each number is held against the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import MetricRecord
from hypothesis import given
from hypothesis import strategies as st

import strategies
from fedtl.config import RunConfig
from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.messages.closing_checks import closing_fault
from fedtl.statistics.calibration import Calibration
from fedtl.statistics.disclosure import Disclosed
from fedtl.statistics.intervals import Clusters, Pairs
from fedtl.statistics.score_counts import packed_cells
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.scoring import Score

CLASSES = 3
STRATEGY = strategies.build(RunConfig(strategy="fedavg").settled(), LinearHead(4, CLASSES))


def _told(seed: int, own: int, test: int, smallest: int = 0) -> dict[str, Any]:
    """Return what a client tells of heads that say anything, on its own rows and on a test part."""
    draws = np.random.default_rng(seed)
    metrics: dict[str, Any] = {"local-only-method": 0}
    rights = {}
    sizes = {"": own, "test-": test}
    truth = {part: draws.integers(CLASSES, size=n) for part, n in sizes.items()}
    groups = {part: draws.integers(max(n // 2, 1), size=n) for part, n in sizes.items()}
    for prefix in phases.scores_told(STRATEGY):
        part = "test-" if prefix.endswith("test-") else ""
        logits = draws.normal(size=(sizes[part], CLASSES)).astype(np.float32)
        loss = float(np.abs(logits).sum())
        score = Score(loss, truth[part], logits.argmax(1), CLASSES, logits)
        binned = prefix in phases.binned_scores_of(STRATEGY)
        told = Disclosed.of(score, smallest, binned=binned, probabilities=True)
        rights[prefix] = score.right
        metrics |= {
            prefix + "num-examples": score.examples,
            prefix + "loss": told.loss,
            prefix + "accuracy": score.accuracy,
            prefix + "correct": told.correct.tolist(),
            prefix + "examples": score.examples_per_class.tolist(),
            prefix + "clusters": list(Clusters.of(score.right, groups[part]).values()),
        }
        if prefix in phases.confusion_of(STRATEGY):
            metrics[prefix + "confusion"] = told.confusion.ravel().tolist()
        if told.counts is not None:
            metrics[prefix + "score-bins"] = packed_cells(told.counts.cells)
            metrics[prefix + "rare-bins"] = packed_cells(told.rare)
            metrics[prefix + "predicted"] = told.counts.predicted.astype(int).tolist()
            metrics[prefix + "probabilities"] = told.counts.packed_probabilities()
        if prefix == "":
            calibration = Calibration.of(logits, truth[""])
            metrics["temperature-losses"] = calibration.losses.tolist()
            metrics["temperature-gaps"] = calibration.gaps.ravel().tolist()
    for prefix in phases.paired_heads(STRATEGY):
        pairs = Pairs.of(rights["local-only-"], rights[prefix], groups[""])
        metrics[prefix + "pairs"] = list(pairs.values())
    return metrics


def _fault(metrics: dict[str, Any], *, held_out: int | None = None, every_row: bool = False) -> str:
    own = metrics["examples"]
    counts = tuple(n + 3 for n in own)
    card = SiteCard(0, 3 * CLASSES, sum(own) if held_out is None else held_out, counts)
    return closing_fault(MetricRecord(metrics), STRATEGY, card, every_row)


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0, 5]))
def test_what_data_gives_is_believed(seed: int, own: int, test: int, smallest: int) -> None:
    metrics = _told(seed, own, test, smallest)
    assert _fault(metrics) == ""
    assert _fault(metrics, held_out=own // 2, every_row=True) == ""


def _less(values: list[Any], at: int, by: int = 1) -> list[Any]:
    return [value - by if place == at else value for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("test-examples", lambda old: _less(old, 0), "add up to"),
        ("test-num-examples", lambda old: old - 1, "add up to"),
        ("correct", lambda old: _less(old, 1, -30), "more of a class are correct"),
        ("correct", lambda old: _less(old, 1), "confusion matrix"),
        (
            "confusion",
            lambda old: _less(_less(old, 1), 2, -1),
            "",
        ),
        ("confusion", lambda old: _less(old, 1), "confusion matrix"),
        ("confusion", lambda old: _less(_less(old, 0), 1, -1), "confusion matrix"),
        ("accuracy", lambda old: old + 0.01, "accuracy = "),
        ("accuracy", lambda old: float("nan"), "without examples, or examples"),
        ("loss", lambda old: float("nan"), "without examples, or examples"),
        ("corrected-clusters", lambda old: _less(old, 0), "corrected-pairs: they contradict"),
        ("clusters", lambda old: [1, *old[1:]], "sums over groups"),
        ("clusters", lambda old: _less(old, 3, 5000), "sums over groups"),
        ("clusters", lambda old: _less(old, 4, 400), "sums over groups"),
        ("clusters", lambda old: _less(old, 5, -400), "sums over groups"),
        ("score-bins", lambda old: [*old, -1], "not have the declared number of cells"),
        ("score-bins", lambda old: [-(10**12)], "not have the declared number of cells"),
        (
            "score-bins",
            lambda old: [10**6 if one > 0 else one for one in old],
            "more examples than",
        ),
        ("rare-bins", lambda old: [-99], "not have the declared number of cells"),
        ("predicted", lambda old: _less(old, 0, -1), "more examples than"),
        ("probabilities", lambda old: old[:-1], "not have the declared number of bins"),
        ("probabilities", lambda old: [1e6, *old[1:]], "calibration counts more"),
        ("probabilities", lambda old: [old[0], old[1] + 60, *old[2:]], "calibration counts more"),
        ("probabilities", lambda old: [*old[:-1], old[-1] + 60], "more right or surer"),
        ("temperature-gaps", lambda old: [61.0, *old[1:]], "calibration counts more"),
        ("pairs", lambda old: _less(_less(old, 0), 1, -1), "pairs: they contradict"),
        ("pairs", lambda old: _less(_less(old, 0), 2, -1), "pairs: they contradict"),
        ("pairs", lambda old: _less(old, 3), "pairs: they contradict"),
        ("pairs", lambda old: _less(old, 4), "pairs: they contradict"),
        ("corrected-pairs", lambda old: _less(old, 9, -9000), "pairs: they contradict"),
    ],
)
def test_each_number_is_held_against_the_others(key: str, change: Any, said: str) -> None:
    metrics = _told(3, 60, 50)
    metrics[key] = change(metrics[key])
    fault = _fault(metrics)
    assert said in fault if said else fault == "", fault


def test_the_same_rows_are_of_the_same_examples() -> None:
    metrics = _told(3, 60, 50)
    moved = _less(_less(metrics["local-only-test-examples"], 0), 1, -1)
    metrics["local-only-test-examples"] = moved
    metrics["local-only-test-correct"] = [0] * CLASSES
    assert "scores count different examples" in _fault(metrics)


def test_nobody_scores_more_than_it_told_of() -> None:
    metrics = _told(3, 60, 50)
    assert "but reported 59 held out" in _fault(metrics, held_out=59)
    assert "but reported 61 held out" in _fault(metrics, held_out=61)
    assert "but reported 61 held out" in _fault(metrics, held_out=61, every_row=True)
    counts = list(metrics["examples"])
    card = SiteCard(0, 9, 60, tuple(_less(counts, 2)))
    assert "more examples of a class" in closing_fault(
        MetricRecord(metrics), STRATEGY, card, every_row=False
    )
