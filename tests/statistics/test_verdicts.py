"""Verdicts on clients: exact tests, corrected for their number, with known false alarms."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy.stats import binomtest

from fedtl.statistics.intervals import Pairs, wilson
from fedtl.statistics.verdicts import holm, stands_up, verdicts


def _pairs(only_other: int, only_ours: int, same: int = 50) -> Pairs:
    other = np.r_[np.ones(only_other), np.zeros(only_ours), np.ones(same)].astype(bool)
    ours = np.r_[np.zeros(only_other), np.ones(only_ours), np.ones(same)].astype(bool)
    return Pairs.of(other, ours, None)


@pytest.mark.parametrize(("other", "ours"), [(4, 0), (5, 0), (9, 2), (8, 2), (12, 4), (3, 3)])
def test_a_lone_client_is_worse_if_the_exact_test_says_so(other: int, ours: int) -> None:
    p = binomtest(other, other + ours, alternative="greater").pvalue
    expected = "worse" if p < 0.05 else "no clear difference"
    assert verdicts({3: _pairs(other, ours)}) == {3: expected}
    mirrored = "better" if p < 0.05 else "no clear difference"
    assert verdicts({3: _pairs(ours, other)}) == {3: mirrored}


def test_more_clients_ask_for_more_evidence() -> None:
    # 2⁻⁶ is below .05, and above .05/4.
    alone = verdicts({0: _pairs(6, 0)})
    among = verdicts({0: _pairs(6, 0), 1: _pairs(0, 0), 2: _pairs(1, 1), 3: _pairs(2, 2)})
    assert alone[0] == "worse"
    assert among[0] == "no clear difference"


def test_a_client_without_examples_has_no_verdict() -> None:
    assert verdicts({0: _pairs(0, 0, same=0), 1: _pairs(0, 9)}) == {1: "better"}


def test_a_group_has_one_vote() -> None:
    """Thirty pictures of one patient, all lost, are one loss."""
    other, ours = np.ones(40, bool), np.r_[np.zeros(30), np.ones(10)].astype(bool)
    patients = np.r_[np.zeros(30), np.arange(1, 11)].astype(np.int64)
    assert verdicts({0: Pairs.of(other, ours, None)}) == {0: "worse"}
    assert verdicts({0: Pairs.of(other, ours, patients)}) == {0: "no clear difference"}


@pytest.mark.parametrize("patients", [False, True])
def test_false_alarms_are_rare(patients: bool) -> None:
    """Ten clients, two heads as good as each other: at most one family in twenty has an alarm."""
    rng = np.random.default_rng(0)
    alarms = 0
    families = 800
    for _ in range(families):
        pairs = {}
        for client in range(10):
            n = int(rng.integers(20, 140))
            groups = rng.integers(0, max(2, n // 5), n) if patients else None
            luck = rng.normal(size=(2, n)) + (
                rng.normal(size=(2, n))[:, groups] if groups is not None else 0.0
            )
            pairs[client] = Pairs.of(luck[0] < 1.0, luck[1] < 1.0, groups)
        alarms += "worse" in verdicts(pairs).values()
    # Three standard deviations above .05 of 800.
    assert alarms / families <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5


def test_real_harm_is_found() -> None:
    rng = np.random.default_rng(1)
    pairs = {c: Pairs.of(rng.random(140) < 0.95, rng.random(140) < 0.75, None) for c in range(10)}
    assert list(verdicts(pairs).values()).count("worse") >= 8


def test_holm_is_monotone_and_keeps_nan() -> None:
    corrected = holm([0.01, 0.04, float("nan"), 0.03])
    assert corrected[:2] == pytest.approx([0.03, 0.06])
    assert np.isnan(corrected[2])
    assert corrected[3] == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("verdict", "alone", "shared", "examples", "stands"),
    [
        # 39 of 40 of one class: naming it is right 39 times, the shared head 29 times.
        ("worse", 39, 29, [39, 1], True),
        # As many of both: which one a head names, the row that is left out decides.
        ("worse", 20, 6, [20, 20], False),
        # Neither is surely worse than naming the most frequent of three.
        ("worse", 20, 10, [18, 12, 10], False),
        # The shared head but names the most frequent class.
        ("better", 12, 28, [28, 12], False),
        ("better", 28, 39, [28, 12], True),
        ("worse", 39, 30, [28, 12], True),
    ],
)
def test_a_verdict_is_no_guess_against_another(
    verdict: Literal["better", "worse"],
    alone: int,
    shared: int,
    examples: list[int],
    stands: bool,
) -> None:
    ahead, behind = wilson(max(alone, shared) / 40, 40), wilson(min(alone, shared) / 40, 40)
    assert stands_up(verdict, ahead, behind, np.array(examples)) == stands
