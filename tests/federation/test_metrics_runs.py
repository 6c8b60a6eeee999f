"""Metrics of a whole federation against scikit-learn's on the predictions of its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.metrics import f1_score, roc_auc_score
from small_federation import federated, small_sites

from fedtl.client.alone import lone_heads
from fedtl.config import RunConfig
from fedtl.federation.classifier import Classifier
from fedtl.federation.evaluation import field_metrics
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.site import Site
from fedtl.runs.reference import centralised_reference
from fedtl.statistics.disclosure import SMALLEST_CELL
from fedtl.statistics.metrics import FieldMetrics
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.head_file import TrainedHead
from strategies.base import AloneHead


class _RealSites(SimulatedSites):
    """Sites that send no small counts."""

    def site(self, partition_id: int) -> Site:
        return replace(super().site(partition_id), smallest_cell=SMALLEST_CELL)


def _data(classes: int) -> Any:
    draws = np.random.default_rng(3)
    y = draws.integers(classes, size=600)
    x = (np.eye(classes, 6)[y] + draws.normal(size=(600, 6))).astype(np.float32)
    return x, y, np.split(draws.permutation(600), [60, 200, 390])


def _run(classes: int, kind: type[SimulatedSites] = SimulatedSites, **keys: Any) -> Any:
    x, y, parts = _data(classes)
    with small_sites(x, y, parts) as sites:
        there = kind(**{name: getattr(sites, name) for name in sites.__dataclass_fields__})
        config = RunConfig(rounds=4, **keys)
        outcome, _ = federated(config, there)
    own = [one.held_out for _, one in sorted(outcome.federated.items())]
    return outcome, own, field_metrics(own, shared=False)


def _logits(outcome: Any, x: Any) -> Any:
    z = (x.astype(float) - outcome.standardisation.mean) * outcome.standardisation.scale
    return z @ outcome.arrays["weight"].T + outcome.arrays["bias"]


@pytest.mark.parametrize("classes", [2, 4])
def test_the_metrics_are_those_of_the_heads_predictions(classes: int) -> None:
    outcome, own, found = _run(classes)
    x, y, _ = _data(classes)
    logits = _logits(outcome, x)
    p = softmax(logits, axis=1)
    exact = (
        roc_auc_score(y, p[:, 1])
        if classes == 2
        else roc_auc_score(y, p, multi_class="ovr", average="macro")
    )
    assert isinstance(found, FieldMetrics)
    assert abs(found.macro_auroc - exact) <= found.auroc_error < 0.02
    assert found.macro_f1 == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    squares = ((p - np.eye(classes)[y]) ** 2).sum(1).mean() / (2 if classes == 2 else 1)
    assert found.brier == pytest.approx(squares, rel=1e-5)
    assert sum(tally.total for tally in own) == 600
    losses = [
        -np.log(softmax(logits / t, axis=1)[np.arange(600), y]).sum()
        for t in (outcome.temperature, outcome.temperature * 1.17, outcome.temperature / 1.17)
    ]
    assert losses[0] == min(losses)


def test_a_real_site_sends_no_small_counts_and_the_head_is_the_same() -> None:
    outcome, _, _ = _run(4)
    real, _, found = _run(4, _RealSites)
    np.testing.assert_array_equal(real.arrays["weight"], outcome.arrays["weight"])
    assert abs(np.log(real.temperature / outcome.temperature)) < np.log(1.17)
    assert isinstance(found, FieldMetrics)
    for client, tallies in real.federated.items():
        told, exact = tallies.held_out, outcome.federated[client].held_out
        assert (told.right, told.total) == (exact.right, exact.total)
        counts = [told.confusion, told.correct, told.counts.cells]
        assert not any(((one > 0) & (one < SMALLEST_CELL)).any() for one in counts)
        assert (exact.counts.cells != told.counts.cells).any()
    exact_metrics = field_metrics(
        [one.held_out for _, one in sorted(outcome.federated.items())], shared=False
    )
    assert exact_metrics is not None
    assert found.macro_auroc == pytest.approx(exact_metrics.macro_auroc, abs=0.02)
    assert found.macro_f1 == pytest.approx(exact_metrics.macro_f1, abs=0.04)
    assert found.brier == pytest.approx(exact_metrics.brier, abs=0.03)
    assert found.calibration_error == pytest.approx(exact_metrics.calibration_error, abs=0.02)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_pooled_reference_has_metrics_too(classes: int) -> None:
    x, y, parts = _data(classes)
    found_head: list[AloneHead] = []

    def solved(config: RunConfig, clients: Sequence[ClientData], all_rows: bool) -> list[AloneHead]:
        found_head.extend(lone_heads(config, clients, all_rows))
        return found_head[-1:]

    config = RunConfig(strategy="fedavg", rounds=1, clients=len(parts))
    with small_sites(x, y, parts) as sites:
        outcome, _ = federated(config, sites)
        clients = [sites.site(client).data for client in range(len(parts))]
        centralised = centralised_reference(outcome.strategy, clients, solved)
    (head,) = found_head
    z = (x.astype(float) - head.standardisation.mean) * head.standardisation.scale
    logits = z @ head.arrays["weight"].T.astype(float) + head.arrays["bias"]
    p = softmax(logits, axis=1)
    odds = [logits[:, k] - logsumexp(np.delete(logits, k, 1), axis=1) for k in range(classes)]
    exact = [roc_auc_score(y == k, odds[k]) for k in range(classes)]
    own = [one.held_out for _, one in sorted(centralised.tallies.items())]
    found = field_metrics(own, shared=False)
    assert found is not None
    np.testing.assert_allclose(found.auroc, exact, atol=0.01)
    assert found.macro_f1 == pytest.approx(f1_score(y, logits.argmax(1), average="macro"))
    if centralised.method == "ridge":
        assert found.brier is None
    else:
        squares = ((p - np.eye(classes)[y]) ** 2).sum(1).mean() / (2 if classes == 2 else 1)
        assert found.brier == pytest.approx(squares, rel=1e-4)


def test_no_temperature_where_outputs_are_no_probabilities() -> None:
    outcome, _, found = _run(4, strategy="fed3r")
    assert outcome.temperature is None
    assert isinstance(found, FieldMetrics)
    assert found.brier is None
    assert found.calibration_error is None
    assert found.macro_auroc > 0.7


def test_a_temperature_is_no_part_of_a_heads_digest() -> None:
    arrays = {"weight": np.ones((2, 3), np.float32)}
    head = TrainedHead(arrays, None, ("a", "b"), "print")
    warm = replace(head, temperature=2.0)
    assert warm.sha256() == head.sha256()
    assert warm.to_bytes() != head.to_bytes()


def test_predict_divides_by_the_temperature() -> None:
    draws = np.random.default_rng(0)
    weight = draws.normal(size=(3, 5)).astype(np.float32)
    arrays = {"weight": weight, "bias": np.zeros(3, np.float32)}
    head = TrainedHead(arrays, None, ("a", "b", "c"), "print", temperature=2.5)
    x = draws.normal(size=(7, 5)).astype(np.float32)
    found = Classifier(Path("run"), RunConfig(strategy="fedavg"), head).values(x)
    expected = softmax(x.astype(float) @ weight.astype(float).T / 2.5, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
