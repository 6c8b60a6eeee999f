"""FedCOF against its paper's slow equations, and what its parts and the split of rows tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from closed_form_problem import (
    Floats,
    Problem,
    assert_close,
    logits_of,
    pooled,
    predicted,
    problem_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.transfer.heads import LinearHead
from strategies import load
from strategies.base import Arrays
from strategies.fedcof import class_covariance


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


def _paper_fedcof(problem: Problem, gamma: float) -> Arrays:
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
    problem = problem_of(rows=80, clients=clients)
    assert_close(problem.solved("fedcof"), _paper_fedcof(problem, gamma=0.3))


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
    problem = Problem(x, y, 4, parts)
    new, labels = _anisotropic(2_000, 1)
    accuracy = {
        n: np.mean(predicted(problem.solved(n), new) == labels)
        for n in ("fedncm", "fedcof", "fedcgs")
    }
    assert accuracy["fedncm"] < 0.5
    assert accuracy["fedcof"] > 0.8
    assert accuracy["fedcgs"] > 0.95


def test_fedcof_of_one_client_points_along_the_class_means() -> None:
    problem = problem_of(clients=1)
    x = problem.x.astype(np.float64)
    centres = np.stack([x[problem.y == c].mean(0) for c in range(3)]) - x.mean(0)
    weight = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    expected = {"weight": weight, "bias": -weight @ x.mean(0)}
    assert_close(problem.alone("fedcof")[0], expected)
    assert_close(problem.solved("fedcof"), expected)


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
    problem = Problem(x, y, 3, [np.arange(rows)], fedcof_parts=parts)
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
    problem = problem_of(rows=80, clients=2)
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
        np.mean(predicted(Problem(x, y, 4, rows, fedcof_parts=m).solved("fedcof"), new) == labels)
        for m in (1, 25)
    ]
    assert accuracy[0] < 0.65
    assert accuracy[1] > 0.8


def test_fedcof_does_not_mind_the_features_unit_or_origin() -> None:
    problem = problem_of(clients=12)
    moved = replace(problem, x=(problem.x + np.float32(4)) * np.float32(1 / 64))
    before, after = (logits_of(p.solved("fedcof"), p.x) for p in (problem, moved))
    np.testing.assert_allclose(after * 64, before, rtol=1e-4, atol=1e-4)


def test_what_fedcof_knows_lies_in_how_the_rows_are_split() -> None:
    problem = problem_of(clients=12)
    together = pooled(problem).solved("fedcof")["weight"]
    assert np.abs(problem.solved("fedcof")["weight"] - together).max() > 0.01
