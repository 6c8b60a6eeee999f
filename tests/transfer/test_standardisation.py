"""Standardisation from moments against scikit-learn's, which sees the pooled data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from fedtl.transfer.standardisation import Moments, Standardisation


def _features(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return features whose means and deviations differ by orders of magnitude."""
    draws = np.random.default_rng(seed)
    scale = 10.0 ** draws.uniform(-3, 3, width)
    shift = scale * draws.uniform(-20, 20, width)
    return (draws.standard_normal((rows, width)) * scale + shift).astype(np.float32)


def _moments(features: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> Moments:
    every = np.arange(len(features))
    return Moments.of(torch.from_numpy(features), every if rows is None else rows)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_moments_of_parts_add_up_to_the_wholes(
    rows: int, width: int, parts: int, seed: int
) -> None:
    features = _features(rows, width, seed)
    owner = np.random.default_rng(seed + 1).integers(parts, size=rows)
    total = Moments.sum(
        (_moments(features, np.flatnonzero(owner == part)) for part in range(parts)), width
    )
    exact = features.astype(np.float64)
    assert total.count == rows
    np.testing.assert_allclose(total.total, exact.sum(0), rtol=1e-12, atol=1e-12 * abs(exact).max())
    np.testing.assert_allclose(total.squares, (exact**2).sum(0), rtol=1e-12)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-1000, 1000), max_size=5), max_size=6))
def test_moments_of_whole_numbers_are_exact_however_they_are_grouped(
    groups: list[list[int]],
) -> None:
    numbers = [number for group in groups for number in group]
    features = np.array(numbers, dtype=np.float32).reshape(-1, 1)
    ends = np.cumsum([len(group) for group in groups]).tolist()
    parts = [
        _moments(features, np.arange(end - len(group), end))
        for group, end in zip(groups, ends, strict=True)
    ]
    total = Moments.sum(parts, 1)
    assert total.count == len(numbers)
    assert total.total.tolist() == [sum(numbers)]
    assert total.squares.tolist() == [sum(number**2 for number in numbers)]


def test_rows_are_those_asked_for_also_beyond_one_chunk() -> None:
    features = _features(10_000, 2, 0)
    rows = np.random.default_rng(1).permutation(10_000)[:9_000]
    moments = _moments(features, rows)
    chosen = features[rows].astype(np.float64)
    np.testing.assert_allclose(moments.total, chosen.sum(0), rtol=1e-12)
    np.testing.assert_allclose(moments.squares, (chosen**2).sum(0), rtol=1e-12)


@settings(deadline=None)
@given(st.integers(2, 80), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_it_is_scikit_learns_standardisation(rows: int, width: int, seed: int) -> None:
    features = _features(rows, width, seed)
    scaler = StandardScaler().fit(features.astype(np.float64))
    ours = Standardisation.from_moments(_moments(features))
    np.testing.assert_allclose(ours.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.scale, 1 / scaler.scale_, rtol=1e-6)
    expected = (features - ours.mean) * ours.scale
    np.testing.assert_array_equal(ours.apply(torch.from_numpy(features)).numpy(), expected)


def test_standardised_data_has_mean_0_and_variance_1() -> None:
    features = _features(500, 8, 3)
    ours = Standardisation.from_moments(_moments(features))
    standardised = ours.apply(torch.from_numpy(features)).double().numpy()
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(0), 1, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1e-12, 12_345.678, 1e12])
@pytest.mark.parametrize("rows", [1, 7, 1_000])
def test_a_feature_that_never_varies_counts_for_nothing(value: float, rows: int) -> None:
    features = np.full((rows, 1), value, np.float32)
    ours = Standardisation.from_moments(_moments(features))
    assert ours.scale.tolist() == [0.0]
    new = torch.tensor([[value + 1e3], [-1e3]])
    assert ours.apply(new).abs().tolist() == [[0.0], [0.0]]


def test_a_feature_that_varies_little_about_a_large_mean_is_kept() -> None:
    features = (np.random.default_rng(0).standard_normal((400, 1)) + 1e4).astype(np.float32)
    ours = Standardisation.from_moments(_moments(features))
    assert ours.scale[0] == pytest.approx(1 / features.astype(np.float64).std(), rel=1e-5)


def test_no_examples_at_all_give_finite_numbers() -> None:
    ours = Standardisation.from_moments(Moments.sum([], 3))
    assert ours.mean.tolist() == ours.scale.tolist() == [0.0, 0.0, 0.0]


def test_what_is_sent_is_of_the_declared_types() -> None:
    ours = Standardisation.from_moments(_moments(_features(5, 3, 0)))
    assert {ours.mean.dtype, ours.scale.dtype} == {np.dtype(np.float32)}
    assert (ours.mean.shape, ours.scale.shape) == ((3,), (3,))


def test_the_identity_changes_no_bit() -> None:
    features = torch.from_numpy(_features(5, 3, 0))
    assert torch.equal(Standardisation.identity(3).apply(features), features)


def test_what_hardly_varies_is_constant_below_a_head_of_trained_blocks() -> None:
    """A real network has units that are off but for rounding: they deviate by next to nothing."""
    draws = np.random.default_rng(0).normal(size=(50, 5)) * [1.0, 2.0, 3.0, 1e-18, 1e-2]
    found = Standardisation.from_moments(
        Moments.of(torch.from_numpy(draws.astype(np.float32)), np.arange(50))
    )
    assert found.scale[3] > 1e17
    kept = found.of_trained_blocks()
    np.testing.assert_array_equal(kept.scale[[0, 1, 2, 4]], found.scale[[0, 1, 2, 4]])
    np.testing.assert_array_equal(kept.mean, found.mean)
    assert kept.scale[3] == 0
    assert kept.scale.dtype == np.float32
    none = Standardisation(np.zeros(2, np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(none.of_trained_blocks().scale, none.scale)
