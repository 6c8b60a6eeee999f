"""AFL, FedNCM, FedCOF and FedCGS against numpy, scikit-learn and the papers' own slow equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import LinearHead, MLPHead
from strategies import load
from strategies.base import Arrays, ClosedFormStrategy, Reply
from strategies.fedcof import class_covariance

Floats = NDArray[np.float64]

NEW = ("afl", "fedncm", "fedcof", "fedcgs")
SUMS = ("afl", "fedncm", "fedcgs")
"""Those whose head is a function of the pooled rows, however they are split."""


@dataclass(frozen=True)
class _Problem:
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int
    parts: Sequence[NDArray[np.int64]]
    penalty: float = 0.1
    fedcof_parts: int = 1

    @property
    def block(self) -> ClientBlock:
        width = self.x.shape[1]
        return ClientBlock(
            features=torch.from_numpy(self.x),
            labels=torch.from_numpy(self.y),
            rows=self.parts,
            partition_ids=range(len(self.parts)),
            classes=self.classes,
            mean=torch.zeros(1, width),
            scale=torch.ones(1, width),
        )

    def strategy(self, name: str) -> ClosedFormStrategy:
        config = RunConfig(
            strategy=name,
            ridge_penalty=self.penalty,
            fedcof_parts=self.fedcof_parts,
            clients=len(self.parts),
        )
        built = load(name)(config, LinearHead(self.x.shape[1], self.classes))
        assert isinstance(built, ClosedFormStrategy)
        return built

    def replies(self, name: str) -> list[Reply]:
        strategy, block = self.strategy(name), self.block
        return [
            Reply(len(rows), strategy.client_statistics(block, client))
            for client, rows in enumerate(self.parts)
        ]

    def solved(self, name: str) -> Arrays:
        head = self.strategy(name).aggregate(1, {}, self.replies(name))
        assert head is not None
        return head

    def alone(self, name: str) -> list[Arrays]:
        return [head.arrays for head in self.strategy(name).train_alone(self.block)]


def _logits(head: Arrays, x: NDArray[np.floating]) -> Floats:
    return x.astype(np.float64) @ head["weight"].T + head["bias"]


def _predicted(head: Arrays, x: NDArray[np.floating]) -> NDArray[np.int64]:
    return _logits(head, x).argmax(1)


def _assert_close(actual: Arrays, expected: Arrays, tolerance: float = 1e-8) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        distance = np.linalg.norm(actual[name] - value)
        assert distance <= tolerance * np.linalg.norm(value) + 1e-11, name


def _problem(
    rows: int = 60, width: int = 6, classes: int = 3, clients: int = 5, seed: int = 1
) -> _Problem:
    """Return classes apart, on correlated features of unlike scales, one of them constant."""
    draws = np.random.default_rng(seed)
    y = draws.integers(classes, size=rows)
    mixing = draws.standard_normal((width, width))
    x = (draws.standard_normal((classes, width))[y] + draws.standard_normal((rows, width))) @ mixing
    x = x * 10.0 ** draws.uniform(-1, 1, width) + draws.uniform(-5, 5, width)
    x[:, 3::8] = 0.1
    parts = np.array_split(draws.permutation(rows), clients)
    return _Problem(x.astype(np.float32), y, classes, parts)


@st.composite
def _problems(draw: st.DrawFn) -> _Problem:
    """Draw clients of skewed classes, of one class each, or of one example each."""
    problem = _problem(
        rows=draw(st.integers(4, 60)),
        width=draw(st.integers(1, 12)),
        classes=draw(st.integers(2, 5)),
        clients=1,
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["skewed", "a class each", "an example each"]))
    if kind == "skewed":
        share = draws.dirichlet(np.full(draw(st.integers(1, 8)), 0.3), size=problem.classes)
        owner = np.array([draws.choice(share.shape[1], p=share[label]) for label in problem.y])
    else:
        owner = problem.y if kind == "a class each" else np.arange(len(problem.y))
    parts = [np.flatnonzero(owner == client) for client in draws.permutation(np.unique(owner))]
    return replace(problem, parts=parts, penalty=draw(st.sampled_from([1e-2, 0.5, 30.0])))


def _pooled(problem: _Problem) -> _Problem:
    return replace(problem, parts=[np.arange(len(problem.y))])


# --- AFL ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(_problems())
def test_afl_is_fed3r_at_any_partition(problem: _Problem) -> None:
    _assert_close(problem.solved("afl"), problem.solved("fed3r"))


@settings(deadline=None, max_examples=40)
@given(_problems())
def test_afl_is_the_ridge_head_of_scikit_learn(problem: _Problem) -> None:
    x, head = problem.x.astype(np.float64), problem.solved("afl")
    scaler = StandardScaler().fit(x)
    alpha = problem.penalty * max(1, (np.ptp(x, axis=0) > 0).sum())
    ridge = Ridge(alpha=alpha, solver="cholesky")
    ridge.fit(scaler.transform(x), np.eye(problem.classes)[problem.y])
    weight = ridge.coef_ / scaler.scale_
    _assert_close(head, {"weight": weight, "bias": ridge.intercept_ - weight @ scaler.mean_})


def test_afl_is_what_the_papers_pairwise_law_and_ri_process_give() -> None:
    """Theorem by theorem, with the inverses of the authors' code, where no penalty intervenes."""
    problem = replace(_problem(width=3, clients=4), penalty=1e-9)
    z = np.hstack([problem.x.astype(np.float64), np.ones((60, 1))])
    eye = np.eye(4)
    joined, gram = np.zeros((4, 3)), np.zeros((4, 4))
    for k, rows in enumerate(problem.parts):
        C = z[rows].T @ z[rows] + eye
        W = np.linalg.inv(C) @ z[rows].T @ np.eye(3)[problem.y[rows]]
        if k == 0:
            joined, gram = W, C
            continue
        R, Rk, both = np.linalg.inv(gram), np.linalg.inv(C), np.linalg.inv(gram + C)
        joined = (eye - R @ C + R @ C @ both @ C) @ joined + (
            eye - Rk @ gram + Rk @ gram @ both @ gram
        ) @ W
        gram = gram + C
    joined = joined + 4 * np.linalg.inv(gram - 4 * eye) @ joined
    _assert_close(problem.solved("afl"), {"weight": joined[:-1].T, "bias": joined[-1]}, 1e-6)


def test_afl_sends_the_regularised_gram_and_the_local_ridge_solution() -> None:
    problem = _problem()
    for rows, reply in zip(problem.parts, problem.replies("afl"), strict=True):
        z = np.hstack([problem.x[rows].astype(np.float64), np.ones((len(rows), 1))])
        gram = z.T @ z + np.eye(7)
        upper = np.concatenate([gram[i, i:] for i in range(7)])
        np.testing.assert_allclose(reply.arrays["regularised-gram"], upper, rtol=1e-12)
        ridge = Ridge(alpha=1.0, fit_intercept=False, solver="svd")
        ridge.fit(z, np.eye(3)[problem.y[rows]])
        np.testing.assert_allclose(reply.arrays["local-solution"], ridge.coef_.T, atol=1e-9)


# --- FedNCM ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero")
@settings(deadline=None, max_examples=40)
@given(_problems())
def test_fedncm_predicts_the_class_mean_of_the_largest_cosine(problem: _Problem) -> None:
    x, head = problem.x.astype(np.float64), problem.solved("fedncm")
    assume(len(np.unique(problem.y)) > 1)
    centroids = NearestCentroid().fit(x, problem.y)
    nearest = KNeighborsClassifier(1, metric="cosine", algorithm="brute")
    nearest.fit(centroids.centroids_, centroids.classes_)
    distance, _ = nearest.kneighbors(x, len(centroids.classes_))
    x = x[distance[:, 1] - distance[:, 0] > 1e-9]
    assume(len(x))
    np.testing.assert_array_equal(_predicted(head, x), nearest.predict(x))


def test_fedncm_is_a_bias_free_head_of_unit_class_means() -> None:
    problem = _problem()
    means = np.stack([problem.x[problem.y == c].astype(np.float64).mean(0) for c in range(3)])
    weight = means / np.sqrt((means**2).sum(1, keepdims=True))
    _assert_close(problem.solved("fedncm"), {"weight": weight, "bias": np.zeros(3)}, 1e-12)


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
@given(problem=_problems())
def test_fedcgs_is_the_linear_discriminant_analysis_of_scikit_learn(
    solver: str, problem: _Problem
) -> None:
    present = np.unique(problem.y)
    assume(1 < len(present) < len(problem.y))
    z = StandardScaler().fit_transform(problem.x.astype(np.float64))
    ridge = problem.penalty * max(1, (np.ptp(problem.x, axis=0) > 0).sum()) / len(z)
    lda = LinearDiscriminantAnalysis(solver=solver, covariance_estimator=_Ridged(ridge))
    expected = lda.fit(z, problem.y).predict_log_proba(z)
    actual = log_softmax(_logits(problem.solved("fedcgs"), problem.x)[:, present], axis=1)
    # Of two classes scikit-learn takes the logarithm of a probability, which rounds to 1 or to 0.
    actual, expected = np.maximum(actual, -20), np.maximum(expected, -20)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


# --- FedCOF ---------------------------------------------------------------------------------------


def _paper_covariance(sums: Floats, counts: Floats) -> Floats:
    """Return proposition 1's estimate, client by client and entry by entry."""
    width, clients = sums.shape[1], len(sums)
    mean = [sum(sums[k, i] for k in range(clients)) / sum(counts) for i in range(width)]
    estimate = np.zeros((width, width))
    for k in range(clients):
        for i in range(width):
            for j in range(width):
                off_i = sums[k, i] / counts[k] - mean[i]
                off_j = sums[k, j] / counts[k] - mean[j]
                estimate[i, j] += counts[k] * off_i * off_j / (clients - 1)
    return estimate


def _covariance(sums: Floats, counts: Floats) -> Floats:
    return class_covariance(sums, counts).numpy()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 4))
def test_the_class_covariance_is_the_papers(seed: int, clients: int, width: int) -> None:
    draws = np.random.default_rng(seed)
    counts = draws.integers(1, 9, clients).astype(np.float64)
    sums = draws.standard_normal((clients, width)) * counts[:, None] + 3 * counts[:, None]
    expected = _paper_covariance(sums, counts)
    np.testing.assert_allclose(_covariance(sums, counts), expected, rtol=1e-9, atol=1e-12)


def test_the_class_covariance_is_unbiased_for_clients_of_any_size() -> None:
    draws = np.random.default_rng(0)
    true = np.array([[4.0, 1.5], [1.5, 1.0]])
    counts = np.array([1.0, 2.0, 5.0, 30.0])
    root = np.linalg.cholesky(true)
    estimates = []
    for _ in range(4000):
        samples = [draws.standard_normal((int(count), 2)) @ root.T + 7 for count in counts]
        estimates.append(_covariance(np.stack([rows.sum(0) for rows in samples]), counts))
    # The standard error of the largest entry is 4 √(2/3) / √4000 = 0.05.
    np.testing.assert_allclose(np.mean(estimates, axis=0), true, atol=0.2)


def test_more_iid_clients_bring_the_covariance_nearer() -> None:
    draws = np.random.default_rng(0)
    root = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, -1.0, 0.3]])
    rows = draws.standard_normal((12_000, 3)) @ root.T
    true, errors = root @ root.T, []
    for clients in (10, 100, 3_000):
        parts = np.array_split(rows, clients)
        sums = np.stack([part.sum(0) for part in parts])
        counts = np.array([float(len(part)) for part in parts])
        errors.append(np.abs(_covariance(sums, counts) - true).max())
    assert errors[2] < 0.25
    assert errors[2] < errors[1] < errors[0]


def _paper_fedcof(problem: _Problem, gamma: float) -> Arrays:
    """Return algorithm 1's weights about the global mean, in loops and with an inverse."""
    x, width = problem.x.astype(np.float64), problem.x.shape[1]
    mean = x.mean(0)
    system, right, spread = np.zeros((width, width)), [], 0.0
    for c in range(problem.classes):
        own = [rows[problem.y[rows] == c] for rows in problem.parts]
        own = [rows for rows in own if len(rows)]
        n = sum(len(rows) for rows in own)
        centre = x[np.concatenate(own)].mean(0)
        if len(own) > 1:
            sums = np.stack([x[rows].sum(0) for rows in own])
            counts = np.array([float(len(rows)) for rows in own])
            system += (n - 1) * _paper_covariance(sums, counts)
        spread += n * ((centre - mean) ** 2).sum()
        right.append(n * (centre - mean))
    variance = (np.trace(system) + spread) / (len(x) * width)
    system += gamma * variance * (len(x) - problem.classes) * np.eye(width)
    weight = np.stack(right) @ np.linalg.inv(system)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    return {"weight": weight, "bias": -weight @ mean}


@pytest.mark.parametrize("clients", [1, 2, 5, 30])
def test_fedcof_is_the_papers_head_about_the_global_mean(clients: int) -> None:
    problem = _problem(rows=80, clients=clients)
    _assert_close(problem.solved("fedcof"), _paper_fedcof(problem, gamma=0.3))


def _anisotropic(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return classes that differ in quiet features and share loud ones."""
    draws = np.random.default_rng(seed)
    y = draws.integers(4, size=rows)
    loud = draws.standard_normal((rows, 2)) * 10
    quiet = np.eye(4)[y] * 2 + draws.standard_normal((rows, 4)) * 0.5
    turn, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((6, 6)))
    return (np.hstack([loud, quiet]) @ turn + 5).astype(np.float32), y


def test_fedcof_sees_what_fedncm_cannot() -> None:
    x, y = _anisotropic(2_000, 0)
    parts = np.array_split(np.random.default_rng(1).permutation(2_000), 100)
    problem = _Problem(x, y, 4, parts)
    new, labels = _anisotropic(2_000, 1)
    accuracy = {n: np.mean(_predicted(problem.solved(n), new) == labels) for n in NEW}
    assert accuracy["fedncm"] < 0.5
    assert accuracy["fedcof"] > 0.8
    assert accuracy["fedcgs"] > 0.95


def test_fedcof_of_one_client_points_along_the_class_means() -> None:
    problem = _problem(clients=1)
    x = problem.x.astype(np.float64)
    centres = np.stack([x[problem.y == c].mean(0) for c in range(3)]) - x.mean(0)
    weight = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    expected = {"weight": weight, "bias": -weight @ x.mean(0)}
    _assert_close(problem.alone("fedcof")[0], expected)
    _assert_close(problem.solved("fedcof"), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 10**6))
def test_fedcofs_parts_are_disjoint_and_of_two_examples_or_more(
    rows: int, parts: int, seed: int
) -> None:
    """Told by features that are powers of two: a sum names its examples."""
    draws = np.random.default_rng(seed)
    x = np.zeros((rows, 2), np.float32)
    half = rows // 2
    x[:half, 0], x[half:, 1] = 2.0 ** np.arange(half), 2.0 ** np.arange(rows - half)
    y = draws.integers(3, size=rows)
    problem = _Problem(x, y, 3, [np.arange(rows)], fedcof_parts=parts)
    strategy = problem.strategy("fedcof")
    sent = strategy.client_statistics(problem.block, 0)
    assert {name: value.shape for name, value in sent.items()} == dict(strategy.uplink)
    for c in range(3):
        counts, sums = sent["class-counts"][:, c], sent["class-sums"][:, c]
        of_class = int((y == c).sum())
        assert counts.sum() == of_class
        np.testing.assert_array_equal(sums.sum(0), x[y == c].astype(np.float64).sum(0))
        assert (sums[counts == 0] == 0).all()
        made = counts[counts > 0]
        assert len(made) == (min(parts, max(1, of_class // 2)) if of_class else 0)
        assert (made >= min(2, of_class)).all()
        named = [sum(f"{int(value):b}".count("1") for value in part) for part in sums]
        assert named == counts.tolist()


def test_fedcofs_deal_belongs_to_the_seed_and_the_client() -> None:
    problem = _problem(rows=80, clients=2)
    once, again = (replace(problem, fedcof_parts=5).replies("fedcof") for _ in range(2))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.arrays["class-sums"], other.arrays["class-sums"])
    block = problem.block
    strategy = replace(problem, fedcof_parts=5).strategy("fedcof")
    elsewhere = replace(block, rows=block.rows[:1] * 2)
    mine, theirs = (strategy.client_statistics(elsewhere, k)["class-sums"] for k in (0, 1))
    assert not np.allclose(mine, theirs)
    np.testing.assert_allclose(mine.sum(0), theirs.sum(0))


@pytest.mark.parametrize(("clients", "parts"), [(10, 10), (7, 15), (100, 1), (5000, 1), (1, 100)])
def test_fedcof_has_a_hundred_parts_or_more(clients: int, parts: int) -> None:
    config = RunConfig(strategy="fedcof", clients=clients)
    assert load("fedcof")(config, LinearHead(3, 2)).uplink["class-counts"] == (parts, 2)


def test_parts_tell_fedcof_what_one_client_does_not() -> None:
    x, y = _anisotropic(2_000, 0)
    rows = [np.random.default_rng(1).permutation(2_000)]
    new, labels = _anisotropic(2_000, 1)
    accuracy = [
        np.mean(_predicted(_Problem(x, y, 4, rows, fedcof_parts=m).solved("fedcof"), new) == labels)
        for m in (1, 25)
    ]
    assert accuracy[0] < 0.65
    assert accuracy[1] > 0.8


def test_fedcof_does_not_mind_the_features_unit_or_origin() -> None:
    problem = _problem(clients=12)
    moved = replace(problem, x=(problem.x + np.float32(4)) * np.float32(1 / 64))
    before, after = (_logits(p.solved("fedcof"), p.x) for p in (problem, moved))
    np.testing.assert_allclose(after * 64, before, rtol=1e-4, atol=1e-4)


# --- all four -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMS)
@settings(deadline=None, max_examples=40)
@given(problem=_problems())
def test_any_split_of_the_same_rows_gives_the_same_head(name: str, problem: _Problem) -> None:
    _assert_close(problem.solved(name), _pooled(problem).solved(name))


def test_what_fedcof_knows_lies_in_how_the_rows_are_split() -> None:
    problem = _problem(clients=12)
    together = _pooled(problem).solved("fedcof")["weight"]
    assert np.abs(problem.solved("fedcof")["weight"] - together).max() > 0.01


@pytest.mark.parametrize("name", NEW)
def test_the_order_of_clients_changes_nothing_but_the_last_bits(name: str) -> None:
    problem = _problem(clients=9)
    turned = replace(problem, parts=problem.parts[::-1])
    _assert_close(turned.solved(name), problem.solved(name), 1e-10)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("absent", [0, 3])
def test_a_class_that_nobody_has_is_never_predicted(name: str, absent: int) -> None:
    problem = _problem()
    y = problem.y + (problem.y >= absent)
    head = replace(problem, y=y, classes=4).solved(name)
    without = problem.solved(name)
    present = [c for c in range(4) if c != absent]
    _assert_close({key: value[present] for key, value in head.items()}, without, 1e-10)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5_000, 6)) * 50).float()
    x = torch.cat([torch.zeros(1, 6), x, torch.from_numpy(problem.x), -torch.from_numpy(problem.x)])
    parameters = {key: torch.from_numpy(value).float()[None] for key, value in head.items()}
    logits = LinearHead(6, 4).logits(parameters, x[None])[0]
    assert torch.isfinite(logits).all()
    assert (logits.argmax(1) != absent).all()


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_heads_are_finite_with_more_features_than_examples(name: str, rows: int) -> None:
    problem = _problem(rows=12, width=40, clients=12 // rows)
    lone = problem.alone(name)
    for head in (problem.solved(name), *lone):
        assert all(np.isfinite(value).all() for value in head.values())
        assert np.abs(head["weight"]).max() < 1e3
    for part, head in zip(problem.parts, lone, strict=True):
        assert np.isin(_predicted(head, problem.x), problem.y[part]).all()


@pytest.mark.parametrize("name", NEW)
def test_a_client_alone_gets_the_head_of_a_federation_of_itself(name: str) -> None:
    problem = _problem(rows=80, clients=2)
    for part, head in zip(problem.parts, problem.alone(name), strict=True):
        _assert_close(head, replace(problem, parts=[part]).solved(name))


@pytest.mark.parametrize("name", NEW)
def test_features_that_never_vary_give_a_finite_head(name: str) -> None:
    problem = _Problem(
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
    problem = replace(_problem(), classes=4)
    assert dict(problem.strategy(name).uplink) == shapes
    for reply in problem.replies(name):
        assert {key: value.shape for key, value in reply.arrays.items()} == shapes
        assert {value.dtype for value in reply.arrays.values()} == {np.dtype(np.float64)}
        assert all(value.flags["C_CONTIGUOUS"] for value in reply.arrays.values())


def test_class_sums_and_counts_are_what_leaves() -> None:
    problem = replace(_problem(rows=5_000, clients=2), classes=4)
    for rows, reply in zip(problem.parts, problem.replies("fedncm"), strict=True):
        for c in range(4):
            own = rows[problem.y[rows] == c]
            assert reply.arrays["class-counts"][c] == len(own)
            total = problem.x[own].astype(np.float64).sum(0)
            np.testing.assert_allclose(reply.arrays["class-sums"][c], total, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", NEW)
def test_a_clients_statistics_do_not_depend_on_its_company(name: str) -> None:
    problem = _problem()
    together = problem.replies(name)
    for place, rows in enumerate(problem.parts):
        lone = replace(problem, parts=[rows]).replies(name)[0]
        for key, value in lone.arrays.items():
            assert value.tobytes() == together[place].arrays[key].tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NEW)
def test_replies_are_left_as_they_came(name: str) -> None:
    problem = _problem()
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


@pytest.mark.parametrize("name", NEW)
def test_no_replies_give_no_head(name: str) -> None:
    assert _problem().strategy(name).aggregate(1, {}, iter([])) is None


@pytest.mark.parametrize("name", NEW)
def test_a_head_without_a_closed_form_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        load(name)(RunConfig(strategy=name, head="mlp"), MLPHead(4, 2, 8))
    assert str(refusal.value) == (
        f"strategy = '{name}' solves for a linear head; head = 'mlp' has no closed form, so use "
        "head = 'linear' or an iterative strategy such as fedavg."
    )


def test_sums_that_are_none_are_told_for_what_they_may_be() -> None:
    """A client that invents covariances above its variances leaves a matrix of no features."""
    strategy = load("fed3r")(RunConfig(strategy="fed3r", clients=2), LinearHead(3, 2))
    rng = np.random.default_rng(0)
    z = np.column_stack([rng.normal(size=(20, 3)), np.ones(20)])
    labels = np.eye(2)[rng.integers(0, 2, 20)]
    honest = {"gram": (z.T @ z)[np.triu_indices(4)], "class-sums": z.T @ labels}
    invented = z.T @ z + 500 * (1 - np.eye(4))
    invented[:, -1] = (z.T @ z)[:, -1]
    hostile = {**honest, "gram": invented[np.triu_indices(4)]}
    with pytest.raises(UsageError, match="sent what it did not find"):
        strategy.aggregate(1, {}, [Reply(20, honest), Reply(20, hostile)])
