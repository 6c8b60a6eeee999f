"""AFL against Fed3R, scikit-learn's ridge head, and the paper's own pairwise law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from closed_form_problem import Problem, assert_close, problem_of, problems
from hypothesis import given, settings
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler


@settings(deadline=None, max_examples=80)
@given(problems())
def test_afl_is_fed3r_at_any_partition(problem: Problem) -> None:
    afl, fed3r = (problem.of_deviations(problem.solved(name)) for name in ("afl", "fed3r"))
    assert_close(afl, fed3r)


@settings(deadline=None, max_examples=40)
@given(problems())
def test_afl_is_the_ridge_head_of_scikit_learn(problem: Problem) -> None:
    x, head = problem.x.astype(np.float64), problem.of_deviations(problem.solved("afl"))
    scaler = StandardScaler().fit(x)
    alpha = problem.penalty * max(1, (np.ptp(x, axis=0) > 0).sum())
    ridge = Ridge(alpha=alpha, solver="cholesky")
    ridge.fit(scaler.transform(x), np.eye(problem.classes)[problem.y])
    weight = ridge.coef_ / scaler.scale_
    expected = {"weight": weight, "bias": ridge.intercept_ - weight @ scaler.mean_}
    assert_close(head, problem.of_deviations(expected))


def test_afl_is_what_the_papers_pairwise_law_and_ri_process_give() -> None:
    """Theorem by theorem, with the inverses of the authors' code, where no penalty intervenes."""
    problem = replace(problem_of(width=3, clients=4), penalty=1e-9)
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
    assert_close(problem.solved("afl"), {"weight": joined[:-1].T, "bias": joined[-1]}, 1e-6)


def test_afl_sends_the_regularised_gram_and_the_local_ridge_solution() -> None:
    problem = problem_of()
    for rows, reply in zip(problem.parts, problem.replies("afl"), strict=True):
        z = np.hstack([problem.x[rows].astype(np.float64), np.ones((len(rows), 1))])
        gram = z.T @ z + np.eye(7)
        upper = np.concatenate([gram[i, i:] for i in range(7)])
        np.testing.assert_allclose(reply.arrays["regularised-gram"], upper, rtol=1e-12)
        ridge = Ridge(alpha=1.0, fit_intercept=False, solver="svd")
        ridge.fit(z, np.eye(3)[problem.y[rows]])
        np.testing.assert_allclose(reply.arrays["local-solution"], ridge.coef_.T, atol=1e-9)
