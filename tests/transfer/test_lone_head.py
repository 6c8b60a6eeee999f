"""The best head of one party's rows: each method against scikit-learn, and the choice by folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from fedtl.transfer import lone_head
from fedtl.transfer.folds import folds_of
from fedtl.transfer.lone_head import LoneHead, best_lone_head
from fedtl.transfer.rough_softmax import RoughSoftmax

CHOSEN = True

Problem = tuple[NDArray[np.float32], NDArray[np.int64]]


def _problem(rows: int, width: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    x = rng.normal(size=(3, width))[y] + rng.normal(size=(rows, width)) @ rng.normal(
        size=(width, width)
    )
    x[:, -1] = 4.0  # a feature that never varies
    return (3 * x + 5).astype(np.float32), y


def _best(problem: Problem, monkeypatch: pytest.MonkeyPatch, *only: tuple[str, float]) -> LoneHead:
    if only:
        monkeypatch.setattr(lone_head, "_CANDIDATES", only)
        monkeypatch.setattr(lone_head, "_RIDGE_PENALTY", only[0][1])
    x, y = problem
    rng = np.random.default_rng(0)
    return best_lone_head(torch.from_numpy(x), torch.from_numpy(y), 3, None, rng)


def _logits(head: LoneHead, x: NDArray[np.float32]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = x.astype(np.float64) @ head.weight.T + head.bias
    return values


@pytest.mark.parametrize(("rows", "width"), [(60, 9), (30, 50)])
def test_ridge_is_scikit_learns(rows: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem = _problem(rows, width)
    head = _best(problem, monkeypatch, ("ridge", 0.5))
    z = StandardScaler().fit_transform(x.astype(np.float64))
    model = Ridge(alpha=0.5 * (width - 1)).fit(z, np.eye(3)[y])
    assert head.method == "ridge"
    assert _logits(head, x) == pytest.approx(model.predict(z), abs=1e-6)


def test_lda_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem = _problem(400, 6)
    head = _best(problem, monkeypatch, ("lda", 1e-9))
    model = LinearDiscriminantAnalysis(solver="lsqr").fit(x[:, :-1].astype(np.float64), y)
    theirs = model.decision_function(x[:, :-1].astype(np.float64))
    ours = _logits(head, x)
    centred = [values - values.mean(1, keepdims=True) for values in (ours, theirs)]
    assert centred[0] == pytest.approx(centred[1], abs=1e-5)


@pytest.mark.parametrize(("rows", "width"), [(90, 9), (30, 50)])
def test_softmax_is_scikit_learns(rows: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem = _problem(rows, width)
    head = _best(problem, monkeypatch, ("softmax", 0.1))
    z = StandardScaler().fit_transform(x.astype(np.float64))
    model = LogisticRegression(C=1 / (0.1 * (width - 1)), tol=1e-10, max_iter=10_000).fit(z, y)
    ours, theirs = _logits(head, x), model.decision_function(z)
    centred = [values - values.mean(1, keepdims=True) for values in (ours, theirs)]
    assert centred[0] == pytest.approx(centred[1], abs=1e-4)


def test_the_method_that_does_best_over_folds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A penalty that leaves class shares alone loses to one that does not, whichever is first."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, 200, p=[0.6, 0.2, 0.2])
    x = (np.eye(3)[y] + 0.3 * rng.normal(size=(200, 3))).astype(np.float32)
    for order in ((1e9, 1e-3), (1e-3, 1e9)):
        head = _best((x, y), monkeypatch, *(("softmax", penalty) for penalty in order))
        assert (_logits(head, x).argmax(1) == y).mean() > 0.9


def test_too_few_rows_to_choose_by_get_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _best(_problem(9, 5), monkeypatch).method == "ridge"


def test_groups_share_a_fold_and_classes_are_spread() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 40, 300)
    labels = (groups % 2).astype(np.int64)
    fold = folds_of(labels, groups, rng, 5)
    assert fold is not None
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    for number in range(5):
        assert 0.3 < labels[fold == number].mean() < 0.7


def test_a_lone_class_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = _problem(30, 5)
    head = _best((x, np.full(30, 2)), monkeypatch)
    assert (_logits(head, x).argmax(1) == 2).all()


@pytest.mark.parametrize("width", [5, 80])
def test_rows_that_are_all_alike_have_a_head(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.full((60, width), 7, np.float32), np.arange(60) % 3
    logits = _logits(_best((x, y), monkeypatch), x)
    assert np.isfinite(logits).all() and np.ptp(logits, axis=0) == pytest.approx(np.zeros(3))


def _standardised(problem: Problem) -> torch.Tensor:
    return torch.from_numpy(StandardScaler().fit_transform(problem[0].astype(np.float64)))


@pytest.mark.parametrize("rows", [40, 300])
@pytest.mark.parametrize("candidate", lone_head._CANDIDATES)
def test_what_is_said_of_a_fold_is_what_a_head_of_the_others_says(
    candidate: lone_head.Candidate, rows: int
) -> None:
    """It is solved from sums that the folds share, and a class may be in one fold alone."""
    x, y = _problem(rows, 30)
    y[:] = np.where(np.arange(rows) % 5 == 4, y, y % 2)
    z, labels = _standardised((x, y)), torch.from_numpy(y)
    parts = [torch.arange(first, rows, 5) for first in range(5)]
    together = lone_head._Rows(z, labels, 3, 30).without(candidate, parts)
    for part, said in zip(parts, together, strict=True):
        rest = torch.from_numpy(np.setdiff1d(np.arange(rows), part))
        weight, bias = lone_head._Rows(z[rest], labels[rest], 3, 30).solved(candidate)
        expected = z[part] @ weight.T + bias
        seen = np.unique(y[rest.numpy()])
        assert 2 in seen or not (said.argmax(1) == 2).any()
        apart = [(one - one[:, seen].mean(1, keepdim=True))[:, seen] for one in (said, expected)]
        tolerance = 0.02 if candidate[0] == "softmax" else 1e-9
        np.testing.assert_allclose(apart[0], apart[1], atol=tolerance)


def test_no_candidate_is_judged_by_rows_that_it_was_solved_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head that knows noise by heart is right of its own rows, and loses to the larger class."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 40)).astype(np.float32), (np.arange(60) % 10 < 3).astype(np.int64)
    for method in ("ridge", "lda", "softmax"):
        head = _best((x, y), monkeypatch, (method, 1e-3), (method, 1e9))
        assert (_logits(head, x).argmax(1) == 0).all()


@pytest.mark.parametrize("penalty", [3.0, 30.0])
def test_rough_softmax_of_many_folds_is_near_scikit_learns(penalty: float) -> None:
    x, y = _problem(400, 20)
    z, labels = _standardised((x, y)), torch.from_numpy(y)
    rough = RoughSoftmax.of(z, labels, 3, z.T @ z)
    parts = [torch.arange(first, 400, 7) for first in range(7)]
    found = rough.without(penalty, rough.near(penalty, 1e-3), parts, 1e-3)
    for part, said in zip(parts, found, strict=True):
        rest = np.setdiff1d(np.arange(400), part)
        model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(z[rest], y[rest])
        theirs = model.decision_function(z[part])
        centred = [one - one.mean(1, keepdims=True) for one in (said.numpy(), theirs)]
        np.testing.assert_allclose(centred[0], centred[1], atol=0.01)
        assert np.abs(theirs).max() > 1
