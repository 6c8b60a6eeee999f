"""Scores against scikit-learn's metrics and torch's cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors, build_head, one_thread
from fedtl.transfer.prior_correction import Adjustment
from fedtl.transfer.scoring import Score, balanced_accuracy, score_clients
from fedtl.transfer.standardisation import Standardisation

CLASSES, FEATURES = 4, 7
SIZES = (0, 1, 8, 9, 63, 64, 65, 200)
KINDS = ("linear", "mlp", "cosine")


def _head(kind: str) -> Head:
    return build_head(kind, features=FEATURES, classes=CLASSES, hidden_units=5, cosine_scale=8.0)


def _clients(
    head: Head, sizes: Sequence[int], seed: int = 0
) -> tuple[Tensors, ClientBlock, list[NDArray[np.int64]]]:
    """Return clients of these sizes, each with its own head and standardisation."""
    draws = np.random.default_rng(seed)
    total = max(sum(sizes), 1)
    block = ClientBlock(
        features=torch.from_numpy(draws.standard_normal((total, FEATURES)).astype(np.float32)),
        labels=torch.from_numpy(draws.integers(CLASSES, size=total)),
        rows=[],
        partition_ids=[],
        classes=CLASSES,
        mean=torch.zeros(1, FEATURES),
        scale=torch.ones(1, FEATURES),
    ).standardised(
        [
            Standardisation(
                draws.standard_normal(FEATURES).astype(np.float32),
                draws.uniform(0.5, 2, FEATURES).astype(np.float32),
            )
            for _ in sizes
        ]
    )
    rows = np.split(draws.permutation(total)[: sum(sizes)], np.cumsum(sizes)[:-1])
    parameters = {
        name: torch.from_numpy(draws.standard_normal((len(sizes), *shape)).astype(np.float32))
        for name, shape in head.shapes.items()
    }
    return parameters, block, rows


def _part(
    parameters: Tensors, block: ClientBlock, rows: Sequence[NDArray[np.int64]], clients: list[int]
) -> tuple[Tensors, ClientBlock, list[NDArray[np.int64]]]:
    """Return these clients alone, in this order."""
    here = torch.tensor(clients)
    own = [Standardisation(block.mean[c].numpy(), block.scale[c].numpy()) for c in clients]
    return (
        {name: value[here] for name, value in parameters.items()},
        block.standardised(own),
        [rows[client] for client in clients],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_scikit_learn_and_torch(kind: str) -> None:
    head = _head(kind)
    parameters, block, rows = _clients(head, SIZES)
    scores = score_clients(head, parameters, block, rows)
    assert [score.examples for score in scores] == list(SIZES)
    for client, score in list(enumerate(scores))[1:]:
        index = torch.from_numpy(rows[client])
        x = ((block.features[index] - block.mean[client]) * block.scale[client]).double()
        own = {name: value[client : client + 1].double() for name, value in parameters.items()}
        logits, truth = head.logits(own, x[None])[0], block.labels[index]
        predicted = logits.argmax(1).numpy()
        np.testing.assert_array_equal(score.truth, truth.numpy())
        np.testing.assert_array_equal(score.predicted, predicted)
        loss = torch.nn.functional.cross_entropy(logits, truth).item()
        assert score.loss == pytest.approx(loss, rel=1e-5)
        assert score.accuracy == pytest.approx(accuracy_score(truth, predicted), rel=1e-12)
        np.testing.assert_array_equal(
            score.confusion, confusion_matrix(truth, predicted, labels=range(CLASSES))
        )


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40),
)
def test_metrics_of_any_predictions_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, dtype=np.int64).T
    score = Score(loss_sum=3.0, truth=truth, predicted=predicted, classes=6)
    labels = list(range(6))
    expected = balanced_accuracy_score(truth, predicted)
    assert score.accuracy == pytest.approx(accuracy_score(truth, predicted), rel=1e-12)
    assert score.balanced_accuracy == pytest.approx(expected, rel=1e-12)
    assert score.loss == pytest.approx(3.0 / len(pairs))
    np.testing.assert_array_equal(
        score.confusion, confusion_matrix(truth, predicted, labels=labels)
    )
    np.testing.assert_array_equal(score.examples_per_class, score.confusion.sum(1))
    np.testing.assert_array_equal(score.correct_per_class, score.confusion.diagonal())
    recalls = recall_score(truth, predicted, labels=labels, average=None, zero_division=0.0)
    np.testing.assert_allclose(
        score.correct_per_class / np.maximum(score.examples_per_class, 1), recalls
    )


def test_nothing_scored_is_not_a_number_and_not_a_crash() -> None:
    head = _head("linear")
    for score in score_clients(head, *_clients(head, (0, 0))):
        assert score.examples == 0
        assert math.isnan(score.loss)
        assert math.isnan(score.accuracy)
        assert math.isnan(score.balanced_accuracy)
        assert not score.confusion.any()
        assert score.confusion.shape == (CLASSES, CLASSES)


def test_an_empty_client_does_not_disturb_the_others() -> None:
    head = _head("linear")
    everyone = _clients(head, SIZES)
    with_empty = score_clients(head, *everyone)
    without = score_clients(head, *_part(*everyone, list(range(1, len(SIZES)))))
    assert [score.loss_sum for score in with_empty[1:]] == [score.loss_sum for score in without]


def test_balanced_accuracy_is_not_a_number_where_no_class_occurs() -> None:
    assert math.isnan(balanced_accuracy(np.zeros(3, np.int64), np.zeros(3, np.int64)))
    assert balanced_accuracy(np.array([1, 0, 2]), np.array([2, 0, 2])) == 0.75


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_clients_score_has_the_same_bits_in_any_company(kind: str, data: st.DataObject) -> None:
    head = _head(kind)
    sizes = data.draw(st.lists(st.integers(0, 150), min_size=1, max_size=80))
    everyone = _clients(head, sizes)
    chosen = data.draw(st.lists(st.sampled_from(range(len(sizes))), min_size=1, unique=True))
    with one_thread():
        together = score_clients(head, *everyone)
        apart = score_clients(head, *_part(*everyone, chosen))
    for client, score in zip(chosen, apart, strict=True):
        assert score.loss_sum == together[client].loss_sum
        np.testing.assert_array_equal(score.predicted, together[client].predicted)


def test_an_adjustment_is_each_clients_own_scale_and_offset() -> None:
    rng = np.random.default_rng(0)
    logits, scale, offset = rng.normal(size=(2, 4, 3)), np.array([2.0, 0.5, 3.0]), np.eye(3)
    adjustment = Adjustment(torch.from_numpy(scale), torch.from_numpy(offset))
    found = adjustment.of(torch.tensor([2, 0]), torch.from_numpy(logits)).numpy()
    for line, client in enumerate((2, 0)):
        np.testing.assert_allclose(found[line], logits[line] * scale[client] + offset[client])
