"""Robust rules against their papers' definitions, written as plain loops, scipy, and Flower."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy.multikrum import select_multikrum
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import trim_mean

import strategies
from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.errors import UsageError
from fedtl.records import to_record
from fedtl.transfer.heads import LinearHead
from strategies.base import Arrays, Reply
from strategies.base.robust import RobustStrategy

Matrix = NDArray[np.float64]
RULES = ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan", "geomedian")


def rule(name: str, **changes: Any) -> RobustStrategy:
    built = strategies.build(RunConfig(strategy=name, **changes), LinearHead(3, 2))
    assert isinstance(built, RobustStrategy)
    return built


def heads(clients: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(clients, 8))


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))


def krum(vectors: list[NDArray[np.float64]], f: int) -> int:
    """Return the index that Krum chooses, as the paper defines it."""
    scores = []
    for i, one in enumerate(vectors):
        others = sorted(distance(one, other) for j, other in enumerate(vectors) if j != i)
        scores.append(sum(others[: max(1, len(vectors) - f - 2)]))
    return scores.index(min(scores))


def bulyan(matrix: Matrix, f: int) -> list[float]:
    left, chosen = list(matrix), []
    while len(chosen) < len(matrix) - 2 * f:
        chosen.append(left.pop(krum(left, f)))
    result = []
    for column in zip(*(vector.tolist() for vector in chosen), strict=True):
        middle = statistics.median(column)
        near = sorted(column, key=lambda value: abs(value - middle))[: len(chosen) - 2 * f]
        result.append(statistics.mean(near))
    return result


def multikrum_of_flower(matrix: Matrix, f: int) -> Matrix:
    contents = [RecordDict({"arrays": to_record({"w": vector})}) for vector in matrix]
    chosen = select_multikrum(contents, f, len(matrix) - f)
    return np.mean([matrix[contents.index(content)] for content in chosen], axis=0)


EXPECTED: dict[str, Callable[[Matrix, int], Any]] = {
    "fedmedian": lambda m, f: [statistics.median(column) for column in m.T.tolist()],
    "fedtrimmedavg": lambda m, f: trim_mean(m, (f + 1e-9) / len(m), axis=0),
    "krum": lambda m, f: m[krum(list(m), f)],
    "multikrum": multikrum_of_flower,
    "bulyan": bulyan,
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(("clients", "hostile"), [(11, 2), (7, 1), (8, 0), (15, 3)])
def test_heads_are_combined_as_defined(name: str, clients: int, hostile: int) -> None:
    for seed in range(5):
        matrix = heads(clients, seed)
        found = rule(name).combine(matrix, hostile)
        np.testing.assert_allclose(found, EXPECTED[name](matrix, hostile), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_geometric_median_has_the_least_sum_of_distances(seed: int) -> None:
    matrix = heads(9, seed)

    def total(z: NDArray[np.float64]) -> float:
        return float(np.sqrt(((matrix - z) ** 2).sum(1)).sum())

    found = rule("geomedian").combine(matrix, 0)
    best = minimize(total, matrix.mean(0), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(found, best.x, atol=1e-5)
    assert total(found) <= best.fun + 1e-9


def test_the_geometric_median_where_most_heads_are_one() -> None:
    matrix = np.vstack([np.tile(heads(1), (3, 1)), 100 * heads(2, 1)])
    np.testing.assert_allclose(rule("geomedian").combine(matrix, 0), matrix[0], atol=1e-4)


def replies(matrix: Matrix) -> list[Reply]:
    """Return replies whose example counts differ: they must not matter."""
    return [
        Reply(n + 1, {"weight": vector[:6].reshape(2, 3), "bias": vector[6:]})
        for n, vector in enumerate(matrix.astype(np.float32))
    ]


def flat(head: Arrays | None) -> NDArray[Any]:
    assert head is not None
    return np.concatenate([head["weight"].ravel(), head["bias"]])


ZERO: Arrays = dict(LinearHead(3, 2).initial("zero", 0))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(RULES), st.integers(0, 1000), st.sampled_from([1e3, -1e6, 1e15]))
def test_hostile_heads_do_not_carry_the_result_away(name: str, seed: int, reach: float) -> None:
    """Two of eleven send whatever they like; the result stays where the honest ones are."""
    matrix = heads(11, seed)
    matrix[[1, 6]] *= reach
    found = flat(rule(name, byzantine=0.2).aggregate(1, ZERO, replies(matrix)))
    honest = np.delete(matrix, [1, 6], axis=0)
    reached = np.sqrt(np.square(honest).sum(1)).max()
    assert np.sqrt(np.square(found).sum()) <= 1.5 * reached
    mean = np.average(matrix, axis=0)
    assert np.sqrt(np.square(mean).sum()) > 10 * reached


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(RULES), st.permutations(range(11)))
def test_the_order_of_clients_does_not_matter(name: str, order: list[int]) -> None:
    # Among its last few, Bulyan's Krum scores two that are each other's nearest alike; the first
    # is taken.
    assume(name != "bulyan")
    matrix = heads(11, 3)
    one = flat(rule(name).aggregate(1, ZERO, replies(matrix)))
    other = flat(rule(name).aggregate(1, ZERO, replies(matrix[order])))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", RULES)
def test_agreement_is_left_as_it_is_and_no_reply_is_no_head(name: str) -> None:
    matrix = np.tile(heads(1), (11, 1))
    found = flat(rule(name).aggregate(1, ZERO, replies(matrix)))
    np.testing.assert_allclose(found, matrix[0], rtol=1e-6)
    assert rule(name).aggregate(1, ZERO, []) is None


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("clients", [1, 2, 3, 4])
def test_the_few_that_are_left_of_a_round_still_give_a_head(name: str, clients: int) -> None:
    matrix = heads(clients)
    found = flat(rule(name, byzantine=0.5).aggregate(1, ZERO, replies(matrix)))
    low, high = matrix.min(0), matrix.max(0)
    assert ((found >= low - 1e-6) & (found <= high + 1e-6)).all()


def test_the_fraction_times_the_clients_is_rounded_down_but_not_by_rounding() -> None:
    """0.29 of 100 clients are 29, though the product is 28.9999…; 0.289 of them are 28."""
    assert int(0.29 * 100) == 28
    matrix = np.sort(heads(100), axis=0)
    for byzantine, trimmed in ((0.29, 29), (0.289, 28)):
        found = flat(rule("fedtrimmedavg", byzantine=byzantine).aggregate(1, ZERO, replies(matrix)))
        expected = matrix[trimmed : 100 - trimmed].mean(0)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("krum", lambda f: 2 * f + 3),
        ("multikrum", lambda f: 2 * f + 3),
        ("bulyan", lambda f: 4 * f + 3),
        ("fedmedian", lambda f: 2 * f + 1),
        ("geomedian", lambda f: 2 * f + 1),
        ("fedtrimmedavg", lambda f: 2 * f + 1),
    ],
)
def test_a_rule_tolerates_as_many_as_its_paper_says(name: str, least: Callable[[int], int]) -> None:
    for clients in range(3, 40):
        most = max(f for f in range(clients) if least(f) <= clients)
        assert rule(name).most_hostile(clients) == most  # type: ignore[attr-defined]


@dataclass
class Nodes:
    """As much of a grid as a strategy asks for."""

    count: int

    def get_node_ids(self) -> list[int]:
        return list(range(2, 2 + self.count))


@pytest.mark.parametrize(
    ("name", "clients", "byzantine", "borne"),
    [
        ("krum", 9, 0.34, 3),
        ("krum", 9, 0.45, None),
        ("multikrum", 10, 0.3, 3),
        ("multikrum", 10, 0.4, None),
        ("bulyan", 11, 0.2, 2),
        ("bulyan", 10, 0.2, None),
        ("fedmedian", 10, 0.4, 4),
        ("geomedian", 10, 0.5, None),
        ("fedtrimmedavg", 4, 0.25, 1),
        ("fedtrimmedavg", 4, 0.5, None),
    ],
)
def test_more_hostile_clients_than_the_rule_tolerates_are_refused_by_number(
    name: str, clients: int, byzantine: float, borne: int | None
) -> None:
    """The papers: 2f + 3 for Krum, 4f + 3 for Bulyan, below one half for medians and means."""
    assume_server_identity()
    strategy = rule(name, byzantine=byzantine)

    def asked() -> int:
        arrays, grid = to_record(ZERO), cast(Grid, Nodes(clients))
        return len(list(strategy.configure_train(1, arrays, ConfigRecord(), grid)))

    if borne is None:
        with pytest.raises(UsageError, match=rf"tolerates at most \d hostile clients of {clients}"):
            asked()
    else:
        assert asked() == clients
        assert strategy.most_hostile(clients) >= borne


@pytest.mark.parametrize("name", RULES)
def test_the_defaults_are_tolerated_and_reckon_with_a_hostile_client(name: str) -> None:
    """With the default ten clients; a head a million times as long does not move the result."""
    defaults = RunConfig(strategy=name)
    assert round(float(defaults.option("attackers")) * defaults.clients) == 1
    strategy = rule(name)
    assert strategy.most_hostile(defaults.clients) >= 1
    assert strategy.note == ""
    for clients in (10, 7):
        matrix = heads(clients)
        matrix[2] *= 1e6
        found = flat(strategy.aggregate(1, ZERO, replies(matrix)))
        assert np.abs(found).max() <= np.abs(np.delete(matrix, 2, axis=0)).max()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_reckons_with_nobody_says_so(name: str) -> None:
    matrix = heads(8)
    strategy = rule(name, byzantine=0.0)
    found = flat(strategy.aggregate(1, ZERO, replies(matrix)))
    is_mean = bool(np.allclose(found, matrix.mean(0), atol=1e-6))
    assert "tolerates no hostile client, because byzantine = 0" in strategy.forewarning
    assert ("plain mean" in strategy.forewarning) == is_mean
    few = rule(name, clients=2)
    assert "tolerates no hostile client of 2" in few.forewarning
    assert few.note == few.forewarning
    needed = re.search(r"needs at least (\d+) clients", few.forewarning)
    assert needed is not None
    assert rule(name, clients=int(needed[1])).forewarning == ""
    assert rule(name, clients=int(needed[1]) - 1).forewarning != ""


@pytest.mark.parametrize("name", RULES)
def test_rounds_of_too_few_to_tolerate_anyone_are_counted(name: str) -> None:
    strategy = rule(name)
    strategy.aggregate(1, ZERO, replies(heads(10)))
    assert strategy.note == ""
    strategy.aggregate(2, ZERO, replies(heads(2)))
    again = rule(name)
    again.restore_server_state(strategy.server_state())
    assert "In 1 rounds so few clients answered" in again.note


def test_which_rules_are_means_without_hostile_clients() -> None:
    assert {name for name in RULES if rule(name).mean_at_zero} == {
        "fedtrimmedavg",
        "multikrum",
        "bulyan",
    }
