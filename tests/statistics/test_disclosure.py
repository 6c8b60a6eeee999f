"""What a real site tells of scores: an attacker who has all of it, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from disclosed_scores import sites_score, spans_of, told_of
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from fedtl.statistics.calibration import (
    TEMPERATURES,
    Calibration,
    best_temperature,
    cross_fitted_error,
)
from fedtl.statistics.disclosure import (
    SMALLEST_CELL,
    Disclosed,
    completed,
    disclosed_calibration,
)
from fedtl.statistics.metrics import FieldMetrics
from fedtl.statistics.score_counts import BINS, ScoreCounts
from fedtl.transfer.scoring import Score

# The edges of bins of log-odds, from the comment in score_counts.py: even in arsinh(x / .1) to ±40.
EDGES = 0.1 * np.sinh(np.linspace(-1, 1, BINS + 1) * np.arcsinh(40 / 0.1))
EDGES[[0, -1]] = -60, 60


def _counts(told: Disclosed) -> ScoreCounts:
    assert told.counts is not None
    return told.counts


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("count", [3, 9, 40, 200])
def test_no_count_below_five_but_zero_leaves(classes: int, count: int) -> None:
    for seed in range(20):
        score = sites_score(classes, count, seed)
        told, sizes = told_of(score), score.examples_per_class
        counts = _counts(told)
        tables = [told.correct, told.confusion, told.rare, counts.predicted, counts.cells]
        for table in tables:
            assert not ((table > 0) & (table < SMALLEST_CELL)).any()
        if (told.correct == -1).all():
            assert not told.confusion.any()
            continue
        known = sizes >= SMALLEST_CELL
        assert (told.confusion.sum(1) == np.where(known, sizes, 0)).all()
        assert (told.correct == np.where(known, told.confusion.diagonal(), -1)).all()
        assert (counts.cells[:, 1].sum(1) == np.where(known, sizes, 0)[-len(counts.cells) :]).all()


def test_what_is_untold_of_classes_is_estimated_from_what_is_told_of_all() -> None:
    """By hand: 30 of 40 are right, 20 of 25 in the classes told of; two of three of the rest."""
    cells = np.zeros((4, 2, BINS))
    counts = ScoreCounts(cells, np.array([20.0, 5.0, 0.0, 0.0]), None, None)
    rare = np.zeros(BINS)
    rare[70] = 15
    examples = np.array([20, 5, 12, 3])
    correct, found = completed(np.array([15, 5, -1, -1]), examples, 30, counts, rare)
    np.testing.assert_allclose(correct, [15, 5, 8, 2])
    assert found is not None
    np.testing.assert_allclose(found.cells[2:, 1, 70], [12, 3])
    # 4 wrong of the third class, by the others' sizes 20, 5, 3; 1 of the last, by 20, 5, 12.
    wrong = 4 * np.array([20, 5, 0, 3]) / 28 + np.array([20, 5, 12, 0]) / 37
    np.testing.assert_allclose(found.predicted, np.array([20, 5, 8, 2]) + wrong)


def test_a_simulation_tells_all() -> None:
    score = sites_score(3, 50, 0)
    told = told_of(score, 0)
    assert (told.confusion == score.confusion).all()
    assert told.loss == score.loss
    assert (_counts(told).cells[:, 1].sum(1) == score.examples_per_class).all()


def test_the_same_scores_are_told_the_same_way() -> None:
    first, again = told_of(sites_score(4, 80, 1)), told_of(sites_score(4, 80, 1))
    np.testing.assert_array_equal(_counts(first).cells, _counts(again).cells)
    np.testing.assert_array_equal(first.confusion, again.confusion)


class _Attacker:
    """Knows classes' sizes, how many are right, the method, and all that is told; two classes.

    Unknown are the counts of the 100 bins of each class, integers.
    """

    def __init__(self, score: Score) -> None:
        self.sizes = score.examples_per_class
        told = told_of(score)
        self.rows: list[NDArray[Any]] = []
        self.low: list[float] = []
        self.high: list[float] = []
        wrong = np.zeros(2 * BINS)
        wrong[BINS // 2 : BINS] = wrong[BINS : BINS + BINS // 2] = 1
        self.wrong = [np.where(np.arange(2 * BINS) // BINS == c, wrong, 0) for c in (0, 1)]
        self._know(wrong, *[int((~score.right).sum())] * 2)
        for label in (0, 1):
            own = np.where(np.arange(2 * BINS) // BINS == label, 1.0, 0.0)
            self._know(own, *[int(self.sizes[label])] * 2)
        # From the surest of the right ones on: class 1 from the highest bin, class 0 the lowest.
        for label, step in ((1, -1), (0, 1)):
            if told.correct[label] >= 0:
                self._blocks(label, _counts(told).cells[0, label][::step], step)
                self._calls(label, int(told.confusion[label, 1 - label]))
        self._sums(score, told)

    def _know(self, row: NDArray[Any], low: float, high: float) -> None:
        self.rows.append(row)
        self.low.append(low)
        self.high.append(high)

    def _blocks(self, label: int, cells: NDArray[np.float64], step: int) -> None:
        """Somebody of a block is in the bin that it is counted in."""
        told = np.repeat(np.arange(BINS), cells.astype(int))
        for first, last in spans_of(int(self.sizes[label])):
            place = int(told[first])
            assert (told[first:last] == place).all()
            at = np.arange(BINS)[::step]
            before, until = np.zeros((2, 2 * BINS))
            before[label * BINS + at[:place]] = 1
            until[label * BINS + at[: place + 1]] = 1
            self._know(before, 0, last - 1)
            self._know(until, first + 1, self.sizes[label])
            self._know(until - before, 1, self.sizes[label])

    def _calls(self, label: int, wrong: int) -> None:
        """Somebody of a block is right, or wrong, as it is counted."""
        size = int(self.sizes[label])
        for first, last in spans_of(int(self.sizes[label])):
            if first < size - wrong:
                self._know(self.wrong[label], 0, size - first - 1)
            else:
                self._know(self.wrong[label], size - last + 1, size)

    def _sums(self, score: Score, told: Disclosed) -> None:
        """The loss, and by temperature, of which means of blocks tell a lower bound.

        As if the sum of all log-odds was told, too.
        """
        assert score.logits is not None
        margins = score.logits[:, 1].astype(float) - score.logits[:, 0]
        low = np.concatenate([EDGES[:-1], EDGES[:-1]])
        high = np.concatenate([EDGES[1:], EDGES[1:]])
        self._know(low, -np.inf, margins.sum())
        self._know(high, margins.sum(), np.inf)
        sign = np.where(np.arange(2 * BINS) < BINS, 1, -1)
        worst, least = np.where(sign > 0, high, low), np.where(sign > 0, low, high)
        n = score.examples
        self._know(np.logaddexp(0, sign * worst), n * (told.loss - 0.005), np.inf)
        self._know(np.logaddexp(0, sign * least), 0, n * (told.loss + 0.005))
        losses = disclosed_calibration(score, SMALLEST_CELL).losses
        for at in range(20, 61, 4):
            row = np.logaddexp(0, sign * worst / TEMPERATURES[at])
            self._know(row, losses[at] * (1 - 1e-9) - 1e-9, np.inf)

    def holds_possible(self, counts: NDArray[np.int64]) -> bool:
        """Return whether these counts contradict nothing that is known."""
        sums = np.array(self.rows) @ counts
        return bool((sums >= self.low).all() and (sums <= self.high).all())

    def pins(self, row: NDArray[np.float64], true: int) -> bool:
        """Return whether a sum of cells, which can be this, can be nothing else."""
        return all(round(sign * self._least(sign * row)) == true for sign in (1, -1))

    def _least(self, row: NDArray[np.float64]) -> float:
        found = milp(
            row,
            constraints=LinearConstraint(np.array(self.rows), self.low, self.high),
            integrality=np.ones(2 * BINS),
            bounds=Bounds(0, np.repeat(self.sizes, BINS)),
        )
        assert found.success
        return float(found.fun)


def _true_counts(score: Score) -> NDArray[np.int64]:
    """Return what the attacker does not know."""
    assert score.logits is not None
    odds = score.logits[:, 1].astype(float) - score.logits[:, 0]
    by_class = [np.histogram(odds[score.truth == label], EDGES)[0] for label in (0, 1)]
    return np.concatenate(by_class)


@pytest.mark.parametrize(
    ("count", "scale", "seed"),
    [(14, 1.0, 0), (24, 3.0, 2), (40, 1.0, 3)],
)
def test_no_hidden_count_is_pinned(count: int, scale: float, seed: int) -> None:
    score = sites_score(2, count, seed, scale)
    attacker, true = _Attacker(score), _true_counts(score)
    assert attacker.holds_possible(true)
    rows = [row for row in np.eye(2 * BINS) if 0 < row @ true < SMALLEST_CELL]
    rows += [row for row in attacker.wrong if 0 < row @ true < SMALLEST_CELL]
    assert len(rows) > 5
    for row in [*rows[:12:2], *rows[-2:]]:
        assert not attacker.pins(row, row @ true)


def test_errors_by_class_are_not_pinned_by_how_many_there_are() -> None:
    """Small sites with few errors, where the sum of errors comes close to telling whose they are.

    Of the sites drawn by the first 120 seeds, the 85th alone has tables that would tell.
    """
    hidden, tried = [], 0
    for seed in range(78, 90):
        draws = np.random.default_rng(seed)
        score = sites_score(2, int(draws.integers(10, 24)), seed, 2.0)
        wrong = score.examples_per_class - score.correct_per_class
        if not 0 < wrong.sum() <= 3 or (score.examples_per_class < SMALLEST_CELL).any():
            continue
        if (told_of(score).correct < 0).all():
            hidden.append(seed)
        attacker = _Attacker(score)
        assert attacker.holds_possible(_true_counts(score))
        for row, true in zip(attacker.wrong, wrong, strict=True):
            if true:
                tried += 1
                assert not attacker.pins(row, true)
    assert hidden == [85]
    assert tried > 2


def _completed(score: Score, smallest: int) -> tuple[NDArray[np.float64], ScoreCounts]:
    told = told_of(score, smallest)
    right = int(score.right.sum())
    correct, counts = completed(
        told.correct, score.examples_per_class, right, told.counts, told.rare
    )
    assert counts is not None
    return correct, counts


def _pooled(scores: list[Score], smallest: int) -> tuple[FieldMetrics, NDArray[np.float64]]:
    """Return what is told of all sites together, and the share of each class that is right."""
    told = [_completed(score, smallest) for score in scores]
    counts = [one for _, one in told]
    correct = np.sum([one for one, _ in told], axis=0)
    examples = np.sum([score.examples_per_class for score in scores], axis=0)
    return FieldMetrics.of(sum(counts[1:], counts[0]), correct, examples), correct / examples


@pytest.mark.parametrize(("classes", "count"), [(2, 20), (2, 100), (4, 40), (8, 30)])
def test_what_stand_ins_cost_ten_sites(classes: int, count: int) -> None:
    """Against scikit-learn on all scores: next to no bias, and a spread that falls with size."""
    gaps = []
    for seed in range(30):
        scores = [sites_score(classes, count, 1000 * seed + site) for site in range(10)]
        logits = np.concatenate([score.logits for score in scores if score.logits is not None])
        truth = np.concatenate([score.truth for score in scores])
        p = np.exp(log_softmax(logits.astype(float), 1))
        exact = roc_auc_score(
            truth, p[:, 1] if classes == 2 else p, multi_class="ovr", average="macro"
        )
        brier = np.square(p - np.eye(classes)[truth]).sum(1).mean()
        if classes == 2:
            brier = brier_score_loss(truth, p[:, 1])
        found, shares = _pooled(scores, SMALLEST_CELL)
        right = balanced_accuracy_score(truth, logits.argmax(1))
        assert found.brier is not None
        assert found.calibration_error is not None
        ece = _pooled(scores, 0)[0].calibration_error
        assert ece is not None
        gaps.append(
            [
                found.macro_auroc - exact,
                found.brier - brier,
                shares.mean() - right,
                found.calibration_error - ece,
            ]
        )
    bias, spread = np.mean(gaps, axis=0), np.std(gaps, axis=0)
    by_chance = 3 * spread / np.sqrt(len(gaps))
    assert (abs(bias)[:3] < 0.003 + by_chance[:3]).all()
    # Twenty scores are four blocks: too few for a calibration curve, even of ten sites.
    assert abs(bias[3]) < (0.08 if count == 20 else 0.02)
    assert spread[0] < (0.06 if count == 20 else 0.03)


def test_a_sites_temperature_is_within_a_step_of_that_of_all_its_scores() -> None:
    for seed in range(10):
        score = sites_score(4, 300, seed, 5.0)
        assert score.logits is not None
        exact = best_temperature([Calibration.of(score.logits, score.truth)])
        found = best_temperature([disclosed_calibration(score, SMALLEST_CELL)])
        assert exact is not None
        assert found is not None
        assert abs(np.log10(found / exact)) < 1.01 * 4 / 60
    assert best_temperature([disclosed_calibration(sites_score(4, 4, 0), SMALLEST_CELL)]) is None


def test_a_temperature_is_judged_by_examples_it_was_not_fitted_to() -> None:
    """By hand: each client's outputs are divided by the best temperature of the others."""
    scores = [sites_score(3, 30, seed, 4.0) for seed in range(5)]
    parts = [(s.logits, s.truth) for s in scores if s.logits is not None]
    gaps = np.zeros(15)
    for at, (logits, truth) in enumerate(parts):
        others = [part for place, part in enumerate(parts) if place != at]

        def loss(t: float, others: list[Any] = others) -> float:
            return -sum(
                log_softmax(z.astype(float) / t, 1)[np.arange(len(y)), y].sum() for z, y in others
            )

        best = min(TEMPERATURES, key=loss)
        p = np.exp(log_softmax(logits.astype(float) / best, 1))
        place = np.minimum((p.max(1) * 15).astype(int), 14)
        np.add.at(gaps, place, (p.argmax(1) == truth) - p.max(1))
    told = [Calibration.of(logits, truth) for logits, truth in parts]
    assert cross_fitted_error(told) == pytest.approx(np.abs(gaps).sum() / 150)
    assert cross_fitted_error(told[:1]) is None


def test_judging_by_the_fitted_examples_flatters() -> None:
    """Of two clients, on examples anew, the cross-fitted error is the nearer one."""
    flattered, honest, true = [], [], []
    for seed in range(150):
        scores = [sites_score(2, 12, 7000 + 2 * seed + site, 4.0) for site in range(2)]
        told = [disclosed_calibration(score, 0) for score in scores]
        best = best_temperature(told)
        at = int(np.argmin(abs(TEMPERATURES - (best or 1.0))))
        flattered.append(np.abs(sum(one.gaps[at] for one in told)).sum() / 24)
        honest.append(cross_fitted_error(told))
        fresh = disclosed_calibration(sites_score(2, 24, 90_000 + seed, 4.0), 0)
        true.append(np.abs(fresh.gaps[at]).sum() / 24)
    assert np.mean(flattered) < np.mean(true) - 0.005
    assert abs(np.mean(honest) - np.mean(true)) < abs(np.mean(flattered) - np.mean(true))
