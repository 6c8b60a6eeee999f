"""Metrics from counts against scikit-learn's and torchmetrics' from the scores themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from fedtl.statistics.calibration import Calibration, best_temperature
from fedtl.statistics.metrics import FieldMetrics, auroc
from fedtl.statistics.score_counts import ScoreCounts, packed_cells

# Least-squares-like, usual and overconfident logits.
SCALES = (0.2, 1.0, 12.0)


def _scores(
    classes: int, scale: float, count: int = 900, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draws = np.random.default_rng(seed)
    truth = draws.integers(classes, size=count)
    logits = scale * (np.eye(classes)[truth] + draws.normal(size=(count, classes)))
    return logits.astype(np.float32), truth


def _metrics(
    counts: ScoreCounts, logits: NDArray[np.float32], truth: NDArray[np.int64]
) -> FieldMetrics:
    matrix = confusion_matrix(truth, logits.argmax(1), labels=range(logits.shape[1]))
    return FieldMetrics.of(counts, matrix.diagonal(), matrix.sum(1))


def _packed(counts: ScoreCounts) -> ScoreCounts:
    return ScoreCounts.unpacked(
        packed_cells(counts.cells), counts.predicted.tolist(), counts.packed_probabilities()
    )


def _exact_auroc(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> list[float]:
    classes = logits.shape[1]
    x = logits.astype(np.float64)
    # The log-odds against the rest: a softmax in float64 would tie at 1.
    odds = [x[:, k] - np.logaddexp.reduce(np.delete(x, k, 1), axis=1) for k in range(classes)]
    return [float(roc_auc_score(truth == k, odds[k])) for k in range(classes)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_metrics_are_those_of_the_scores_themselves(classes: int, scale: float) -> None:
    # Its import takes two seconds, of each process that collects the tests.
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, truth = _scores(classes, scale)
    counts = ScoreCounts.of(logits, truth, probabilities=True)
    found = _metrics(_packed(counts), logits, truth)
    exact, predicted = _exact_auroc(logits, truth), logits.argmax(1)
    assert found.auroc_error < 0.015
    assert abs(found.macro_auroc - np.mean(exact)) <= found.auroc_error
    np.testing.assert_allclose(found.auroc, exact, atol=0.004)
    np.testing.assert_allclose(found.f1, f1_score(truth, predicted, average=None))
    assert found.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    p = softmax(logits.astype(np.float64), axis=1)
    ece = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(truth), num_classes=classes, n_bins=15
    )
    assert found.calibration_error == pytest.approx(float(ece), abs=1e-6)
    if classes == 2:
        assert found.brier == pytest.approx(brier_score_loss(truth, p[:, 1]))
        assert found.sensitivity == pytest.approx(recall_score(truth, predicted))
        assert found.specificity == pytest.approx(recall_score(truth, predicted, pos_label=0))
    else:
        assert found.brier == pytest.approx(((p - np.eye(classes)[truth]) ** 2).sum(1).mean())
        assert found.sensitivity is None


def test_ties_count_half() -> None:
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([0.0, 2.0]), np.array([1.0, 1.0])) == 0.75
    assert np.isnan(auroc(np.array([0.0, 2.0]), np.zeros(2)))


def test_clients_counts_add_up_to_those_of_all_examples() -> None:
    logits, truth = _scores(4, 1.0)
    parts = [ScoreCounts.of(logits[i::3], truth[i::3], probabilities=True) for i in range(3)]
    whole = ScoreCounts.of(logits, truth, probabilities=True)
    total = parts[0] + parts[1] + parts[2]
    np.testing.assert_array_equal(total.cells, whole.cells)
    np.testing.assert_array_equal(total.predicted, whole.predicted)
    np.testing.assert_allclose(total.calibration, whole.calibration)  # type: ignore[arg-type]
    assert total.brier == pytest.approx(whole.brier)
    assert (total + replace(parts[0], brier=None, calibration=None)).brier is None


def test_cells_are_packed_by_runs_of_zeros() -> None:
    cells = np.zeros((1, 2, 100))
    cells[0, 0, 3], cells[0, 1, 98] = 7, 2
    counts = ScoreCounts(cells, np.array([4.0, 5.0]), None, None)
    assert packed_cells(counts.cells) == [-3, 7, -194, 2, -1]
    np.testing.assert_array_equal(_packed(counts).cells, cells)
    with pytest.raises(ValueError, match="199 cells"):
        ScoreCounts.unpacked([-199], [4, 5], [0.0])


def test_the_temperature_is_the_likeliest_one() -> None:
    logits, truth = _scores(5, 1.0)
    logits *= 9
    parts = [Calibration.of(logits[i::4], truth[i::4]) for i in range(4)]
    found = best_temperature(parts)
    best = minimize_scalar(
        lambda t: log_loss(truth, softmax(logits.astype(float) / t, axis=1)),
        bounds=(0.5, 90),
        method="bounded",
    ).x
    assert found == pytest.approx(best, rel=10 ** (1 / 15) - 1)
    assert best_temperature([]) is None
    assert best_temperature([replace(parts[0], losses=parts[0].losses * np.nan)]) is None
