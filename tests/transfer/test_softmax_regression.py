"""Softmax regression against scikit-learn's, at convergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fedtl.transfer.softmax_regression import Whitened, fit_softmax

Floats = NDArray[np.float64]


def _examples(
    rows: int, width: int, classes: int, seed: int = 0
) -> tuple[Floats, NDArray[np.int64]]:
    """Return overlapping classes in features of unlike scales that vary together."""
    draws = np.random.default_rng(seed)
    y = draws.integers(classes, size=rows)
    y[:classes] = np.arange(classes)
    x = draws.normal(size=(classes, width))[y] + draws.normal(size=(rows, width))
    mixing = draws.normal(size=(width, width)) * 10.0 ** draws.uniform(-0.5, 0.5, width)
    return x @ mixing + 5, y


def _fitted(x: Floats, y: NDArray[np.int64], classes: int, penalty: float) -> tuple[Floats, Floats]:
    weight, bias = fit_softmax(torch.from_numpy(x), torch.from_numpy(y), classes, penalty)
    assert weight.dtype == bias.dtype == torch.float64
    return weight.numpy(), bias.numpy()


def _sklearn(x: Floats, y: NDArray[np.int64], penalty: float) -> tuple[Floats, Floats]:
    model = LogisticRegression(C=1 / penalty, solver="newton-cg", tol=1e-9, max_iter=10_000)
    model.fit(x, y)
    return model.coef_, model.intercept_


@pytest.mark.parametrize("rows", [30, 400])
@pytest.mark.parametrize("classes", [3, 6])
@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_it_is_scikit_learns(rows: int, classes: int, penalty: float) -> None:
    """With more features than examples, too."""
    x, y = _examples(rows, 40, classes)
    weight, bias = _fitted(x, y, classes, penalty)
    expected, intercept = _sklearn(x, y, penalty)
    np.testing.assert_allclose(weight, expected, atol=1e-5)
    np.testing.assert_allclose(bias - bias.mean(), intercept - intercept.mean(), atol=1e-4)
    assert np.abs(expected).max() > 0.01


def test_of_two_classes_it_is_the_binary_regression_of_twice_the_penalty() -> None:
    """Two weights ±w have twice the squared norm of one, and logits 2w apart."""
    x, y = _examples(200, 10, 2)
    weight, bias = _fitted(x, y, 2, 3.0)
    expected, intercept = _sklearn(x, y, 1.5)
    np.testing.assert_allclose(weight[1] - weight[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(bias[1] - bias[0], intercept[0], atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(2, 5), st.integers(0, 10**6))
def test_the_gradient_is_nought(rows: int, width: int, classes: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(rows, width)), draws.integers(classes, size=rows)
    weight, bias = _fitted(x, y, classes, 0.7)
    present = np.unique(y)
    logits = (x @ weight.T + bias)[:, present]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    residual = p - (y[:, None] == present)
    slope = residual.T @ x + 0.7 * weight[present]
    assert np.abs(slope).max() < 1e-5
    assert np.abs(residual.sum(0)).max() < 1e-5


def test_a_class_without_examples_is_never_predicted() -> None:
    x, y = _examples(60, 5, 3)
    labels = np.array([0, 2, 4])[y]
    weight, bias = _fitted(x, labels, 6, 1.0)
    logits = 100 * np.random.default_rng(1).normal(size=(500, 5)) @ weight.T + bias
    assert set(logits.argmax(1)) == {0, 2, 4}
    assert np.isfinite(logits).all()
    alone = _fitted(x, y, 3, 1.0)[0]
    np.testing.assert_allclose(weight[[0, 2, 4]], alone, rtol=1e-9, atol=1e-12)


def test_one_class_and_one_feature_that_never_varies() -> None:
    weight, bias = _fitted(np.ones((4, 2)), np.array([1, 1, 1, 1]), 3, 1.0)
    assert (weight == 0).all()
    assert bias.argmax() == 1


def test_a_near_solution_to_start_from_leads_to_the_same() -> None:
    x, y = _examples(120, 15, 4)
    whitened = Whitened.of(torch.from_numpy(x), torch.from_numpy(y), 4)
    _, near = whitened.solve(5.0)
    (weight, _), _ = whitened.solve(0.5, near)
    np.testing.assert_allclose(weight.numpy(), _fitted(x, y, 4, 0.5)[0], atol=1e-5)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, y = _examples(300, 60, 3)
    before = torch.get_num_threads()
    heads = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        heads.append(_fitted(x, y, 3, 1.0)[0].tobytes())
    torch.set_num_threads(before)
    assert heads[0] == heads[1]


def test_what_has_no_minimum_is_refused() -> None:
    x, y = _examples(10, 2, 2)
    with pytest.raises(ValueError, match="not positive"):
        _fitted(x, y, 2, 0.0)
    with pytest.raises(ValueError, match="needs an example"):
        _fitted(x[:0], y[:0], 2, 1.0)
