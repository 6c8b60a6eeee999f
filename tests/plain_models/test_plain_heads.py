"""Heads with the standardisation folded in, against arithmetic in float64 written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from plain_networks import TEMPERATURE, drawn_classifier
from torch import nn

from fedtl.config import RunConfig
from fedtl.federation.classifier import Classifier
from fedtl.plain_models.plain_head import plain_heads
from fedtl.plain_models.plain_layers import Cosine, Exact, Standardise
from fedtl.transfer.head_file import TrainedHead

WIDTH = 7
Doubles = NDArray[np.float64]


def _features(mean: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    drawn = mean + rng.normal(size=(50, WIDTH)) * np.linspace(0.1, 2, WIDTH)
    drawn[:, 2] = 4.25  # tells nothing, and must not blow up where it varies later
    return drawn.astype(np.float32)


def _classifier(head: str, x: NDArray[np.float32], strategy: str = "fedavg") -> Classifier:
    config = RunConfig(data="features:x.npz", strategy=strategy, head=head)
    if head == "mlp":
        config = config.replace(options=(("hidden-units", 5),))
    return drawn_classifier(config.settled(()), x)


def _standardised(found: Classifier, x: NDArray[np.float32]) -> Doubles:
    standardisation = found.trained.standardisation
    assert standardisation is not None
    centred = x.astype(np.float64) - standardisation.mean
    return np.asarray(centred * standardisation.scale.astype(np.float64))


def _said(module: nn.Module, x: NDArray[np.float32]) -> Doubles:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)).numpy(), np.float64)


def test_a_linear_head_is_one_linear_layer() -> None:
    x = _features(1.0)
    found = _classifier("linear", x)
    head = next(plain_heads(found))
    assert isinstance(head.module, nn.Linear)
    assert (head.code, head.told, head.layers) == (f"nn.Linear({WIDTH}, 3)", "", ())
    arrays, z = found.trained.arrays, _standardised(found, x)
    expected = (z @ arrays["weight"].T + arrays["bias"]) / TEMPERATURE
    np.testing.assert_allclose(_said(head.module, x), expected, atol=3e-6)
    # What predict calls probabilities is the softmax of these.
    odds = np.exp(expected)
    np.testing.assert_allclose(found.values(x), odds / odds.sum(1, keepdims=True), atol=1e-6)


def test_scores_of_closed_forms_keep_their_size() -> None:
    x = _features(1.0)
    found = _classifier("linear", x, strategy="fed3r")
    head = next(plain_heads(found))
    np.testing.assert_allclose(_said(head.module, x), found.values(x), atol=1e-5)


def test_a_closed_form_on_features_that_hardly_vary_is_computed_in_float64() -> None:
    """Its weights take features as they are, so that summands are 10,000 times their sum."""
    rng = np.random.default_rng(2)
    x = (-13.8 + 1e-4 * rng.normal(size=(50, WIDTH))).astype(np.float32)
    weight = 1e3 * rng.normal(size=(3, WIDTH))
    arrays = {"bias": rng.normal(size=3) + 13.8 * weight.sum(1), "weight": weight}
    expected = x.astype(np.float64) @ weight.T + arrays["bias"]
    config = RunConfig(data="features:x.npz", strategy="fed3r").settled(())
    found = Classifier(Path("run"), config, TrainedHead(arrays, None, ("a", "b", "c"), "print"))
    np.testing.assert_allclose(found.values(x), expected, rtol=0, atol=1e-9)
    # What no run ever saw gives outputs so large that digits lost are a small part of them.
    for features in (None, torch.from_numpy(x + 10)):
        (head,) = plain_heads(found, features)
        assert (head.code, head.layers, head.linear) == (f"Exact({WIDTH}, 3)", (Exact,), None)
        assert "would lose digits" in head.told
        np.testing.assert_allclose(_said(head.module, x), expected, rtol=0, atol=1e-6)


def test_a_hidden_layer_takes_the_standardisation() -> None:
    x = _features(-2.0)
    found = _classifier("mlp", x)
    head = next(plain_heads(found))
    assert head.code == f"nn.Sequential(nn.Linear({WIDTH}, 5), nn.ReLU(), nn.Linear(5, 3))"
    arrays, z = found.trained.arrays, _standardised(found, x)
    hidden = np.maximum(0, z @ arrays["hidden.weight"].T + arrays["hidden.bias"])
    expected = (hidden @ arrays["output.weight"].T + arrays["output.bias"]) / TEMPERATURE
    np.testing.assert_allclose(_said(head.module, x), expected, atol=1e-5)


def test_a_cosine_head_is_two_small_layers() -> None:
    x = _features(1.0)
    found = _classifier("cosine", x)
    (head,) = plain_heads(found)
    assert head.layers == (Standardise, Cosine)
    z, weight = _standardised(found, x), found.trained.arrays["weight"].astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    np.testing.assert_allclose(_said(head.module, x), 16 / TEMPERATURE * z @ weight.T, atol=1e-5)
    assert "no nn.Linear" in head.told


def test_far_from_zero_the_standardisation_stays_a_layer() -> None:
    """A folded layer would be off by the rounding of numbers ten thousand deviations large."""
    x = _features(3000.0)
    found = _classifier("linear", x)
    (head,) = plain_heads(found)
    assert head.code == f"nn.Sequential(Standardise({WIDTH}), nn.Linear({WIDTH}, 3))"
    assert head.linear is None
    assert "standardisation is a layer of its own" in head.told
    arrays, z = found.trained.arrays, _standardised(found, x)
    expected = (z @ arrays["weight"].T + arrays["bias"]) / TEMPERATURE
    np.testing.assert_allclose(_said(head.module, x), expected, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp", "cosine"])
def test_a_head_without_standardisation(head: str) -> None:
    x = _features(0.0)
    found = _classifier(head, x)
    object.__setattr__(found.trained, "standardisation", None)
    plain = next(plain_heads(found))
    expected = found.outputs(x) / TEMPERATURE
    np.testing.assert_allclose(_said(plain.module, x), expected, atol=1e-5)
