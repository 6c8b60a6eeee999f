"""FedNCM and FedCGS against scikit-learn, and what they, AFL and FedCOF have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from closed_form_problem import (
    Floats,
    Problem,
    assert_close,
    logits_of,
    pooled,
    predicted,
    problem_of,
    problems,
)
from hypothesis import assume, given, settings
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from fedtl.config import RunConfig
from fedtl.errors import ImpossibleTotalError, UsageError
from fedtl.transfer.heads import LinearHead, MLPHead
from strategies import load
from strategies.base import Reply
from strategies.base.plausible import Told

STRATEGIES = ("afl", "fedncm", "fedcof", "fedcgs")
SUMS = ("afl", "fedncm", "fedcgs")
"""Those whose head is a function of the pooled rows, however they are split."""


# --- FedNCM ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero")
@settings(deadline=None, max_examples=40)
@given(problems())
def test_fedncm_predicts_the_class_mean_of_the_largest_cosine(problem: Problem) -> None:
    x, head = problem.x.astype(np.float64), problem.solved("fedncm")
    assume(len(np.unique(problem.y)) > 1)
    centroids = NearestCentroid().fit(x, problem.y)
    nearest = KNeighborsClassifier(1, metric="cosine", algorithm="brute")
    nearest.fit(centroids.centroids_, centroids.classes_)
    distance, _ = nearest.kneighbors(x, len(centroids.classes_))
    x = x[distance[:, 1] - distance[:, 0] > 1e-9]
    assume(len(x))
    np.testing.assert_array_equal(predicted(head, x), nearest.predict(x))


def test_fedncm_is_a_bias_free_head_of_unit_class_means() -> None:
    problem = problem_of()
    means = np.stack([problem.x[problem.y == c].astype(np.float64).mean(0) for c in range(3)])
    weight = means / np.sqrt((means**2).sum(1, keepdims=True))
    assert_close(problem.solved("fedncm"), {"weight": weight, "bias": np.zeros(3)}, 1e-12)


# --- FedCGS ---------------------------------------------------------------------------------------


class _Ridged:
    """The covariance about a class's mean, with what FedCGS adds, as scikit-learn asks for it."""

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    def fit(self, x: Floats) -> _Ridged:
        self.covariance_ = np.cov(x.T, bias=True).reshape(x.shape[1], -1)
        self.covariance_ = self.covariance_ + self.ridge * np.eye(x.shape[1])
        return self


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@settings(deadline=None, max_examples=40)
@given(problem=problems())
def test_fedcgs_is_the_linear_discriminant_analysis_of_scikit_learn(
    solver: str, problem: Problem
) -> None:
    present = np.unique(problem.y)
    assume(1 < len(present) < len(problem.y))
    z = StandardScaler().fit_transform(problem.x.astype(np.float64))
    ridge = problem.penalty * max(1, (np.ptp(problem.x, axis=0) > 0).sum()) / len(z)
    lda = LinearDiscriminantAnalysis(solver=solver, covariance_estimator=_Ridged(ridge))
    expected = lda.fit(z, problem.y).predict_log_proba(z)
    actual = log_softmax(logits_of(problem.solved("fedcgs"), problem.x)[:, present], axis=1)
    # Of two classes scikit-learn takes the logarithm of a probability, which rounds to 1 or to 0.
    actual, expected = np.maximum(actual, -20), np.maximum(expected, -20)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


# --- all four -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMS)
@settings(deadline=None, max_examples=40)
@given(problem=problems())
def test_any_split_of_the_same_rows_gives_the_same_head(name: str, problem: Problem) -> None:
    assert_close(problem.solved(name), pooled(problem).solved(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_order_of_clients_changes_nothing_but_the_last_bits(name: str) -> None:
    problem = problem_of(clients=9)
    turned = replace(problem, parts=problem.parts[::-1])
    assert_close(turned.solved(name), problem.solved(name), 1e-10)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("absent", [0, 3])
def test_a_class_that_nobody_has_is_never_predicted(name: str, absent: int) -> None:
    problem = problem_of()
    y = problem.y + (problem.y >= absent)
    head = replace(problem, y=y, classes=4).solved(name)
    without = problem.solved(name)
    present = [c for c in range(4) if c != absent]
    assert_close({key: value[present] for key, value in head.items()}, without, 1e-10)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5_000, 6)) * 50).float()
    x = torch.cat([torch.zeros(1, 6), x, torch.from_numpy(problem.x), -torch.from_numpy(problem.x)])
    parameters = {key: torch.from_numpy(value).float()[None] for key, value in head.items()}
    logits = LinearHead(6, 4).logits(parameters, x[None])[0]
    assert torch.isfinite(logits).all()
    assert (logits.argmax(1) != absent).all()


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_heads_are_finite_with_more_features_than_examples(name: str, rows: int) -> None:
    problem = problem_of(rows=12, width=40, clients=12 // rows)
    lone = problem.alone(name)
    for head in (problem.solved(name), *lone):
        assert all(np.isfinite(value).all() for value in head.values())
        assert np.abs(head["weight"]).max() < 1e3
    for part, head in zip(problem.parts, lone, strict=True):
        assert np.isin(predicted(head, problem.x), problem.y[part]).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_client_alone_gets_the_head_of_a_federation_of_itself(name: str) -> None:
    problem = problem_of(rows=80, clients=2)
    for part, head in zip(problem.parts, problem.alone(name), strict=True):
        assert_close(head, replace(problem, parts=[part]).solved(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_features_that_never_vary_give_a_finite_head(name: str) -> None:
    problem = Problem(
        np.full((5, 2), 0.5, np.float32), np.array([0, 1, 1, 1, 0]), 2, [np.arange(5)]
    )
    assert all(np.isfinite(value).all() for value in problem.solved(name).values())


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("afl", {"regularised-gram": (28,), "local-solution": (7, 4)}),
        ("fedncm", {"class-sums": (4, 6), "class-counts": (4,)}),
        ("fedcof", {"class-sums": (1, 4, 6), "class-counts": (1, 4)}),
        ("fedcgs", {"gram": (28,), "class-sums": (7, 4)}),
    ],
)
def test_what_leaves_has_the_declared_names_and_shapes(
    name: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    problem = replace(problem_of(), classes=4)
    assert dict(problem.strategy(name).uplink) == shapes
    for reply in problem.replies(name):
        assert {key: value.shape for key, value in reply.arrays.items()} == shapes
        assert {value.dtype for value in reply.arrays.values()} == {np.dtype(np.float64)}
        assert all(value.flags["C_CONTIGUOUS"] for value in reply.arrays.values())


def test_class_sums_and_counts_are_what_leaves() -> None:
    problem = replace(problem_of(rows=5_000, clients=2), classes=4)
    for rows, reply in zip(problem.parts, problem.replies("fedncm"), strict=True):
        for c in range(4):
            own = rows[problem.y[rows] == c]
            assert reply.arrays["class-counts"][c] == len(own)
            total = problem.x[own].astype(np.float64).sum(0)
            np.testing.assert_allclose(reply.arrays["class-sums"][c], total, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_clients_statistics_do_not_depend_on_its_company(name: str) -> None:
    problem = problem_of()
    together = problem.replies(name)
    for place, rows in enumerate(problem.parts):
        lone = replace(problem, parts=[rows]).replies(name)[0]
        for key, value in lone.arrays.items():
            assert value.tobytes() == together[place].arrays[key].tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STRATEGIES)
def test_replies_are_left_as_they_came(name: str) -> None:
    problem = problem_of()
    replies = problem.replies(name)
    for reply in replies:
        for value in reply.arrays.values():
            value.flags.writeable = False  # as Flower's are
    before = [{key: value.copy() for key, value in r.arrays.items()} for r in replies]
    torch.set_warn_always(True)
    try:
        problem.strategy(name).aggregate(1, {}, iter(replies))
    finally:
        torch.set_warn_always(False)
    for reply, arrays in zip(replies, before, strict=True):
        for key, value in arrays.items():
            np.testing.assert_array_equal(reply.arrays[key], value)


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_replies_give_no_head(name: str) -> None:
    assert problem_of().strategy(name).aggregate(1, {}, iter([])) is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_head_without_a_closed_form_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        load(name)(RunConfig(strategy=name, head="mlp"), MLPHead(4, 2))
    assert str(refusal.value) == (
        f"strategy = '{name}' solves for a linear head; head = 'mlp' has no closed form, so use "
        "head = 'linear' or an iterative strategy such as fedavg."
    )


def test_sums_of_no_features_are_laid_to_the_client_that_sent_them() -> None:
    """A client that invents covariances above its variances leaves a matrix of no features."""
    strategy = load("fed3r")(RunConfig(strategy="fed3r", clients=2), LinearHead(3, 2))
    rng = np.random.default_rng(0)
    z = np.column_stack([rng.normal(size=(20, 3)), np.ones(20)])
    labels = np.eye(2)[rng.integers(0, 2, 20)]
    honest = {"gram": (z.T @ z)[np.triu_indices(4)], "class-sums": z.T @ labels}
    invented = z.T @ z + 500 * (1 - np.eye(4))
    invented[:, -1] = (z.T @ z)[:, -1]
    hostile = {**honest, "gram": invented[np.triu_indices(4)]}
    told = Told(20, labels.sum(0).astype(int).tolist(), {}, {})
    assert strategy.implausible(honest, told) == ""
    assert "not that of 20 examples' features" in strategy.implausible(hostile, told)
    with pytest.raises(ImpossibleTotalError, match="does not add up to sums of any features"):
        strategy.aggregate(1, {}, [Reply(20, honest), Reply(20, hostile)])
