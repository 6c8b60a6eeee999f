"""What a server takes for impossible: never what data gives, and always what no data can."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_federation import block_of

import strategies
from fedtl.config import RunConfig
from fedtl.federation.totals import dominating, largest_named, standing_out, total_fault
from fedtl.messages.census import SiteCard
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.standardisation import Moments
from strategies.base import Arrays, Received
from strategies.base.plausible import (
    Told,
    norm,
    scale_of,
    step_size,
    too_large,
    wrong_counts,
    wrong_gram,
    wrong_moments,
)

SUMS = ("fed3r", "fedcgs", "personalridge", "afl", "balancedridge", "fedncm", "fedcof", "fedpft")


@st.composite
def _data(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Draw features of any scale and rank, with copies and constants, labels, and a class count."""
    rows, width, classes = (
        draw(st.integers(low, high)) for low, high in ((1, 40), (1, 12), (2, 4))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    x = rng.normal(draw(st.sampled_from([0, 1, 1000])), 1, (rows, width)) * scale
    x[:, rng.random(width) < 0.2] = draw(st.sampled_from([0.0, 1.0, -7e5]))
    x[rng.random(rows) < 0.3] = x[0]
    return x.astype(np.float32), rng.integers(0, classes, rows), classes


@settings(deadline=None, max_examples=60)
@given(data=_data(), name=st.sampled_from(SUMS))
def test_what_data_gives_is_never_refused(data: Any, name: str) -> None:
    x, y, classes = data
    # Beside features of 10⁸ its γ = 1 is lost; a run standardises them.
    assume(name != "afl" or np.abs(x).max() < 1e6)
    counts = np.bincount(y, minlength=classes)
    config = RunConfig(strategy=name, clients=1).settled()
    strategy = strategies.build(config, LinearHead(x.shape[1], classes))
    block = block_of(x, y, [np.arange(len(y))], classes)
    server: Arrays = {}
    if name == "balancedridge":
        # Other clients have more of every class.
        server = {"class-counts": (counts + 3).astype(np.float32)}
    tensors = {key: torch.from_numpy(value)[None] for key, value in server.items()}
    head = {"weight": torch.zeros(1, classes, x.shape[1]), "bias": torch.zeros(1, classes)}
    [trained] = strategy.client_train(block, Received(head, tensors), 1)
    told = Told(len(y), (counts + 2).tolist(), {}, server)
    assert strategy.implausible(trained.arrays, told) == ""


def _gram(n: int = 9, width: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64], Told]:
    rng = np.random.default_rng(n)
    z = np.column_stack([rng.normal(size=(n, width)), np.ones(n)])
    y = np.eye(3)[rng.integers(0, 3, n)]
    return z.T @ z, z.T @ y, Told(n, y.sum(0).astype(int).tolist(), {}, {})


def test_a_gram_matrix_of_more_examples_than_were_told_is_refused() -> None:
    gram, sums, told = _gram(n=3, width=8)
    assert wrong_gram(gram, sums, told) == ""
    away = np.random.default_rng(0).normal(size=9) * 0.1
    away[-1] = 0  # an example too many that the counts do not show
    assert "is not that of 3 examples" in wrong_gram(gram + np.outer(away, away), sums, told)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(0, 5), st.floats(0.02, 1e6), st.sampled_from([-1, 1]))
def test_no_entry_of_a_gram_matrix_may_be_another(i: int, j: int, by: float, sign: int) -> None:
    gram, sums, told = _gram(n=4)
    size = math.sqrt(gram[i, i] * gram[j, j])
    gram[i, j] += sign * by * size
    gram[j, i] = gram[i, j]
    # Rank and counts leave no room: four examples in five dimensions.
    assert wrong_gram(gram, sums, told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda gram, sums: sums.__setitem__((-1, 0), sums[-1, 0] + 1), "add up to 10"),
        (lambda gram, sums: sums.__setitem__(-1, [10.5, -1.0, -0.5]), "not whole numbers"),
        (lambda gram, sums: sums.__setitem__(-1, sums[-1, ::-1].copy()), "first reported"),
        (lambda gram, sums: sums.__setitem__((0, 0), 1e3), "differ between its Gram"),
        (lambda gram, sums: gram.__imul__(0.5), "differ between its Gram"),
        (lambda gram, sums: gram.__setitem__((0, 0), -1.0), "a sum of squares"),
    ],
)
def test_sums_that_contradict_one_another_are_refused_in_words(change: Any, said: str) -> None:
    gram, sums, told = _gram()
    change(gram, sums)
    assert said in wrong_gram(gram, sums, told)


def test_a_class_has_no_more_examples_than_the_census_said() -> None:
    told = Told(5, [3, 4], {}, {})
    assert wrong_counts(np.array([3.0, 2.0]), told) == ""
    assert "class 0 has 4 examples, but the client first reported 3" in wrong_counts(
        np.array([4.0, 1.0]), told
    )
    assert "add up to 6" in wrong_counts(np.array([2.0, 4.0]), told)
    assert wrong_counts(np.array([[1.0, 2.0], [2.0, 0.0]]), told) == ""


@settings(deadline=None, max_examples=60)
@given(data=_data())
def test_moments_of_data_are_never_refused_and_less_always(data: Any) -> None:
    x, y, _ = data
    moments = Moments.of(torch.from_numpy(x), np.arange(len(y)))
    assert wrong_moments(moments.total, moments.squares, len(y)) == ""
    least = np.square(moments.total) / len(y)
    if (least > 1e-30).any():
        assert "less than its sum squared" in wrong_moments(moments.total, least * 0.9, len(y))
    assert "not one of as many" in wrong_moments(moments.total, -1 - moments.squares, len(y))


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_norm_is_numpys_and_does_not_overflow(values: list[float]) -> None:
    array = np.array(values, np.float32)
    exact = float(np.linalg.norm(array.astype(np.float64)))
    assert norm({"a": array[:1], "b": array[1:]}) == pytest.approx(exact, rel=1e-4, abs=1e-18)


def test_arrays_are_measured_by_the_head_or_one_of_ones() -> None:
    zero = {"weight": np.zeros((3, 5), np.float32), "bias": np.zeros(3, np.float32)}
    assert scale_of(zero) == pytest.approx(math.sqrt(18))
    far = {"weight": np.full((3, 5), 100.0, np.float32), "bias": np.zeros(3, np.float32)}
    assert scale_of(far) == pytest.approx(100 * math.sqrt(15))
    just = {name: np.full_like(value, 99.0) for name, value in zero.items()}
    over = {name: np.full_like(value, 101.0) for name, value in zero.items()}
    assert too_large(just, zero, 100.0) == ""
    assert "weight and bias is 429, more than reply-limit = 100 times 4.24" in too_large(
        over, zero, 100.0
    )
    assert too_large(over, far, 100.0) == ""
    assert "the norm of control is" in too_large({**just, "control": over["bias"] * 9}, zero, 100.0)


def test_a_total_is_kept_if_it_is_finite_and_of_the_size_of_what_was_sent() -> None:
    sent = {"weight": np.ones(4, np.float32)}
    assert total_fault({"weight": np.full(4, 9e5, np.float32)}, sent) == ""
    assert "has norm 2.2e+06" in total_fault({"weight": np.full(4, 1.1e6, np.float32)}, sent)
    assert total_fault({"weight": np.full(4, 1.1e6)}, sent, scaled=False) == ""
    for bad in (np.nan, np.inf):
        assert "not finite" in total_fault({"weight": np.array([1.0, bad])}, sent, scaled=False)


def test_who_stands_out_is_named_and_by_how_much() -> None:
    sizes = {0: 1.0, 1: 2.0, 2: 3.0, 7: 5000.0}
    assert standing_out(sizes, 1e3) == {7: 5000.0 / 2.5}
    assert standing_out(sizes, 1e4) == {}
    assert standing_out({0: 1.0, 1: 1e9}, 1e3) == standing_out({}, 1e3) == {}
    assert largest_named(sizes).endswith("client 7 (5e+03), client 2 (3), client 1 (2)")
    assert largest_named({}) == ""


def test_one_client_with_nearly_all_examples_is_told_of() -> None:
    def cards(*examples: int) -> dict[int, SiteCard]:
        return {at: SiteCard(at, n, 0, (n,)) for at, n in enumerate(examples)}

    assert "Client 1 reports 950 of all 1,000" in dominating(cards(25, 950, 25))
    assert dominating(cards(50, 900, 50)) == ""
    assert dominating(cards(1, 10**18)) == ""


def test_a_step_counts_as_a_thousandth_of_the_heads_scale_at_least() -> None:
    head = {"weight": np.full((3, 3), 10.0, np.float32)}
    assert step_size({"weight": np.full((3, 3), 1e-9)}, head) == pytest.approx(1e-3 * 30)
    assert step_size({"weight": np.full((3, 3), 2.0)}, head) == 6.0


@pytest.mark.parametrize("strategy", ["fedavg", "fednova", "fed3r"])
def test_a_contribution_is_a_step_or_a_sum_by_the_example(strategy: str) -> None:
    rule = strategies.build(RunConfig(strategy=strategy), LinearHead(2, 2))
    head = {"weight": np.ones((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    change = {"weight": np.full((2, 2), 3.0, np.float32), "bias": np.zeros(2, np.float32)}
    sent = {
        "fedavg": {name: head[name] + value for name, value in change.items()},
        "fednova": {f"normalised-change.{name}": value / 5 for name, value in change.items()},
        "fed3r": {"gram": np.full(6, 60.0), "class-sums": np.zeros((3, 2))},
    }[strategy]
    if strategy == "fednova":
        sent["step-weight"] = np.float32(5)
    for examples in (10, 1000):
        size = rule.size(sent, Told(examples, (5, 5), head, {}))
        expected = 60 * np.sqrt(6) / examples if strategy == "fed3r" else 6.0
        assert size == pytest.approx(expected, rel=1e-6)
