"""What people read of a comparison over five seeds, held against numpy: page, charts, terminal."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from five_seeds import (
    SEEDS,
    STRATEGIES,
    TESTED,
    Made,
    bytes_say,
    compared_in,
    corrected,
    dots_say,
    gains_say,
    half_width,
    p_of_best,
    p_value,
    ranking,
    rounds_say,
    signed,
    spread,
)
from made_comparison import comparison_of
from small_comparison import rows_of
from unequal_run import tables_of, titles_of

from fedtl.comparison.standings import standings
from fedtl.report import theme
from fedtl.report.comparison_table import ranking_table
from fedtl.statistics import behind_best
from fedtl.statistics.behind_best import p_behind_best

PLOTTED = True

DRAWS = 20_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return compared_in(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def order(made: Made) -> list[str]:
    """The strategies, the most accurate first; of equals, as they were listed."""
    means = {name: made.figures(name, "new_data_federated_accuracy").mean() for name in STRATEGIES}
    return sorted(STRATEGIES, key=lambda name: -means[name])


# --- the ranking ----------------------------------------------------------------------------------


def test_marks_are_the_accuracy_of_the_table(made: Made) -> None:
    for name in STRATEGIES:
        found = made.right(name).mean(1)
        np.testing.assert_allclose(found, made.figures(name, "new_data_federated_accuracy"))


def test_the_summary_has_means_intervals_and_targets(made: Made, order: list[str]) -> None:
    told = ranking(made)
    assert [row["strategy"] for row in told["strategies"]] == order
    assert (told["examples"], told["groups"]) == (TESTED, TESTED)
    best = max(made.right(name).mean() for name in STRATEGIES)
    assert told["target"] == pytest.approx(0.95 * best)
    centralised = made.figures("fedavg", "new_data_centralised_accuracy")
    assert told["centralised"]["mean"] == pytest.approx(centralised.mean())
    for row in told["strategies"]:
        name, right = row["strategy"], made.right(row["strategy"])
        accuracy = right.mean(1)
        assert row["accuracy"]["mean"] == pytest.approx(accuracy.mean())
        assert row["accuracy"]["sd"] == pytest.approx(accuracy.std(ddof=1))
        balanced = made.figures(name, "new_data_federated_balanced_accuracy")
        assert row["balanced_accuracy"]["mean"] == pytest.approx(balanced.mean())
        mean = right.mean()
        width = half_width(right) / (mean * (1 - mean))
        ends = [1 / (1 + np.exp(-np.log(mean / (1 - mean)) - side * width)) for side in (-1, 1)]
        assert [row["interval"]["low"], row["interval"]["high"]] == pytest.approx(ends)
        accuracies, sent = made.rounds(name)
        reached = [np.flatnonzero(one >= told["target"]) for one in accuracies]
        there = [(one[0] + 1, sent[seed, one[0]]) for seed, one in enumerate(reached) if len(one)]
        assert row["reached_target"] == len(there)
        if there:
            at, size = np.mean(there, axis=0)
            assert row["rounds_to_target"]["mean"] == pytest.approx(at)
            assert row["bytes_to_target"]["mean"] == pytest.approx(size)


def test_differences_have_their_signs_and_their_ps(made: Made, order: list[str]) -> None:
    pairs = list(combinations(order, 2))
    apart = {pair: made.right(pair[0]) - made.right(pair[1]) for pair in pairs}
    p = corrected({pair: p_value(one) for pair, one in apart.items()})
    told = {(one["first"], one["second"]): one for one in ranking(made)["differences"]}
    assert list(told) == pairs
    for pair, one in told.items():
        width = half_width(apart[pair])
        mean = apart[pair].mean()
        assert one["difference"] == pytest.approx(mean)
        assert one["interval"]["low"] == pytest.approx(mean - width)
        assert one["interval"]["high"] == pytest.approx(mean + width)
        assert one["p"] == pytest.approx(p[pair], rel=1e-4, abs=1e-11)
        assert one["significant"] == (p[pair] < 0.05)
    assert {one["significant"] for one in told.values()} == {True, False}
    matrix = re.search(r'<table class="matrix">.*?</table>', made.page, re.DOTALL)
    assert matrix is not None
    cells = re.findall(r'<td( class="significant")? title="([^"]*)">([^<]*)</td>', matrix[0])
    both = [(a, b) for a in order for b in order if a != b]
    for (bold, title, points), (a, b) in zip(cells, both, strict=True):
        difference = made.right(a) - made.right(b)
        mean, width = difference.mean(), half_width(difference)
        assert points == signed(mean)
        assert title.startswith(f"{signed(mean - width)} to {signed(mean + width)}; p = ")
        assert bool(bold) == (p[(a, b) if (a, b) in p else (b, a)] < 0.05)


def test_stars_are_where_the_summary_says_and_far_behind(made: Made, order: list[str]) -> None:
    behind = {row["strategy"]: row["significantly_behind_best"] for row in
              ranking(made)["strategies"]}  # fmt: skip
    best = made.right(order[0])
    for name in order:
        # Corrected for having chosen the best, a p is no smaller, and hardly fifty times as large.
        p = p_value(best - made.right(name))
        assert p < 0.001 or p > 0.05, "else this says nothing"
        assert behind[name] == (p < 0.001)
    assert set(behind.values()) == {True, False}
    (table, *_) = tables_of(made.page, "point-0")
    for row in table[1 : 1 + len(order)]:
        assert row[1] == row[1].split()[0] + (" *" if behind[row[1].split()[0]] else "")
        line = next(
            one for one in made.end.stdout.splitlines() if one.startswith(row[1].split()[0])
        )
        assert line.startswith(f"{row[1].split()[0]} *") == behind[row[1].split()[0]]
    count = sum(behind.values())
    title = re.search("<h1>(.*?)</h1>", made.page)
    assert title is not None
    assert title[1].endswith(f", surely ahead of {count} of 3 others.")
    names = [name for name in order if made.right(name).mean() == best.mean()]
    told = re.search(rf"{names[0]}.* (\d+\.\d)%, surely", title[1])
    assert told is not None
    assert float(told[1]) == pytest.approx(100 * best.mean(), abs=0.051)


def test_stars_are_westfall_and_youngs(made: Made, order: list[str]) -> None:
    """The p-values by draws of another generator, of the whole and of parts of it."""
    told = {row["strategy"]: row for row in ranking(made)["strategies"]}
    rights = [made.right(name) for name in order]
    p, error = p_of_best(rights, DRAWS)
    assert all(abs(p - 0.05) > 5 * error), "else draws would decide"
    for name, one in zip(order, p, strict=True):
        assert told[name]["significantly_behind_best"] == (one < 0.05)
    # Its own p-values rest on a fifth of the draws.
    np.testing.assert_array_less(np.abs(made.p_behind_best - p), 5 * 6**0.5 * error + 1e-3)
    # With more draws than a comparison takes, so that each part of the formula is seen.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behind_best, "_DRAWS", DRAWS)
        for names, rows in (
            (("fedavg", "fed3r", "fedncm"), slice(60)),
            (("fedavg", "fed3r", "fedncm"), slice(8, 20)),
            (("fed3r", "fedncm"), slice(50)),
        ):
            some = np.array([made.right(name)[:, rows] for name in names])
            p, error = p_of_best(list(some), DRAWS)
            found = p_behind_best(some, np.ones(some.shape[1:]))
            np.testing.assert_array_less(np.abs(found - p), 5 * error + 1e-4)
            assert 0.001 < p.min() < 0.5


def test_the_most_accurate_alone_is_bold_in_the_terminal() -> None:
    at = standings(comparison_of({"fedavg": [[0.6]], "fed3r": [[0.8]], "fedncm": [[0.7]]}))[0]
    table = ranking_table(at)
    assert [row.style for row in table.rows] == ["bold", None, None, "dim"]
    assert list(table.columns[0].cells)[:3] == ["fed3r", "fedncm", "fedavg"]


def test_the_ranking_on_the_page_and_in_the_terminal(made: Made, order: list[str]) -> None:
    (table, *_) = tables_of(made.page, "point-0")
    told = {row["strategy"]: row for row in ranking(made)["strategies"]}
    assert table[0][1:8] == [
        "Strategy",
        "Accuracy",
        "95% interval",
        "Balanced",
        "Pooled",
        "Rounds",
        "Bytes",
    ]
    assert [row[0] for row in table[1:]] == ["best", "", "", "", "reference"]
    terminal = made.end.stdout.splitlines()
    for row, name in zip(table[1:], order, strict=False):
        low, high = told[name]["interval"].values()
        expected = [
            spread(made.right(name).mean(1)),
            f"{100 * low:.1f} to {100 * high:.1f}",
            spread(made.figures(name, "new_data_federated_balanced_accuracy")),
        ]
        assert row[1].split()[0] == name
        assert row[2:5] == expected
        pooled = [pair[1] for seed in range(SEEDS) for pair in made.cell(name, seed)["trained"]]
        assert row[5] == spread(np.array(pooled))
        reached = told[name]["reached_target"]
        rounds, size = "–", "–"
        if reached == SEEDS:
            rounds = f"{told[name]['rounds_to_target']['mean']:.0f}"
            size = f"{told[name]['bytes_to_target']['mean'] / 1000:.1f} kB"
        elif reached:
            rounds = f"({reached}/{SEEDS})"
        assert row[6:8] == [rounds, size]
        line = next(one for one in terminal if one.startswith(name))
        assert line.removeprefix(name).removeprefix(" *").split()[:4] == [
            expected[0],
            *expected[1].split(),
        ]
    centralised = spread(made.figures("fedavg", "new_data_centralised_accuracy"))
    assert table[-1][1:3] == ["centralised", centralised]


# --- clients' own data ----------------------------------------------------------------------------


def test_own_data_is_by_the_best_head_with_the_worst_client_and_verdicts(made: Made) -> None:
    ways = {"fedavg": ("federated", "corrected"), "ditto": ("federated", "corrected", "personal")}
    has = {name: ways.get(name, ways["fedavg"]) for name in STRATEGIES}
    best = {
        name: max(made.figures(name, f"{way}_accuracy").mean() for way in has[name])
        for name in STRATEGIES
    }
    (_, table, *_) = tables_of(made.page, "point-0")
    assert [row[1] for row in table[1:5]] == sorted(STRATEGIES, key=lambda name: -best[name])
    counts = set()
    for row in table[1:5]:
        for at, way in enumerate(has[row[1]]):
            verdicts = [
                [
                    sum(
                        one["verdicts"].get(way) == verdict
                        for one in made.cell(row[1], s)["clients"]
                    )
                    for s in range(SEEDS)
                ]
                for verdict in ("better", "worse")
            ]
            better, worse = (f"{np.mean(one):.1f}".removesuffix(".0") for one in verdicts)
            counts |= {better, worse}
            low = made.figures(row[1], f"{way}_worst_client_accuracy").mean()
            assert row[2 + 3 * at : 5 + 3 * at] == [
                spread(made.figures(row[1], f"{way}_accuracy")),
                f"{100 * low:.1f}",
                f"{better}/{worse}",
            ]
    assert len(counts) > 3
    for row, way in zip(table[5:], ("local_only", "centralised"), strict=True):
        low = made.figures("fedavg", f"{way}_worst_client_accuracy").mean()
        accuracy = spread(made.figures("fedavg", f"{way}_accuracy"))
        assert row[2:4] == [accuracy, f"{100 * low:.1f}"]
    alone = made.figures("fedavg", "local_only_accuracy").mean()
    first = table[1][1]
    assert re.search(rf"own data: {first} \([a-z ]+\) {100 * best[first]:.1f}%, local-only "
                     rf"{100 * alone:.1f}%", made.page)  # fmt: skip
    lines = made.end.stdout.split("On own data")[1].splitlines()
    for row in table[1:5]:
        line = next(one for one in lines if one.startswith(row[1]))
        assert line.split()[1:3] == [row[2], row[4]]


def test_counts_of_bytes_are_their_own(made: Made) -> None:
    for row in rows_of(made.folder):
        cell = made.cell(row["strategy"], int(row["seed"]))
        assert int(row["bytes_up"]) == cell["bytes_up"] != cell["bytes_down"]
        assert int(row["bytes_down"]) == cell["bytes_down"]
        used = "personal" if row["strategy"] == "ditto" else "federated"
        harmed = sum(one["verdicts"].get(used) == "worse" for one in cell["clients"])
        assert int(row["harmed_clients"]) == harmed


# --- charts ---------------------------------------------------------------------------------------


def curves(made: Made) -> list[tuple[Any, ...]]:
    return [args for name, args, _ in made.drawn if name == "plot" and len(args) >= 2]


def test_curves_by_round_and_by_bytes_are_means_over_seeds(made: Made) -> None:
    for name in ("fedavg", "ditto"):
        accuracy, sent = made.rounds(name)
        mean, sd = accuracy.mean(0), accuracy.std(0, ddof=1)
        for places in (np.arange(1, 5), sent.mean(0)):
            found = [
                args
                for args in curves(made)
                if np.shape(args[0]) == (4,) == np.shape(args[1])
                and np.allclose(args[0], places)
                and np.allclose(args[1], mean)
            ]
            assert len(found) >= 2, "for a desk and for a telephone"
        bands = [args for kind, args, _ in made.drawn if kind == "fill_between"]
        assert any(np.allclose(a[1], mean - sd) and np.allclose(a[2], mean + sd) for a in bands)


def test_intervals_lie_on_their_own_rows_best_at_the_top(made: Made, order: list[str]) -> None:
    told = {row["strategy"]: row for row in ranking(made)["strategies"]}
    for place, name in enumerate(order[::-1]):
        ends = list(told[name]["interval"].values())
        assert any(
            np.shape(args[0]) == (2,)
            and np.allclose(args[0], ends)
            and list(args[1]) == [place] * 2
            for args in curves(made)
        ), name
        mean = made.right(name).mean()
        dots = [args for args in curves(made) if np.ndim(args[0]) == 0 and args[1] == place]
        assert any(np.isclose(args[0], mean) for args in dots), name
        pooled = [pair[1] for seed in range(SEEDS) for pair in made.cell(name, seed)["trained"]]
        below = [args for args in curves(made) if np.ndim(args[0]) == 0 and args[1] == place - 0.3]
        assert any(np.isclose(args[0], np.mean(pooled)) for args in below), name
    names = [list(args[1]) for kind, args, _ in made.drawn if kind == "set_yticks"]
    assert order[::-1] in names
    lines = [args[0] for kind, args, _ in made.drawn if kind == "axvline"]
    centralised = made.figures("fedavg", "new_data_centralised_accuracy").mean()
    assert any(np.isclose(at, centralised) for at in lines)


def test_gains_are_those_of_the_heads_that_clients_would_use(made: Made) -> None:
    dots = [args for kind, args, _ in made.drawn if kind == "scatter"]
    for name in STRATEGIES:
        gains = made.gains(name)
        assert any(np.allclose(args[0], gains) for args in dots), name
        low, first, median, third, high = np.quantile(gains, (0.05, 0.25, 0.5, 0.75, 0.95))
        for ends in ((low, high), (first, third)):
            assert any(
                np.shape(args[0]) == (2,) and np.allclose(args[0], ends) for args in curves(made)
            ), name
        for value in (median, np.median(made.gains(name, "corrected"))):
            assert any(np.ndim(a[0]) == 0 and np.isclose(a[0], value) for a in curves(made)), name
    colours = {one for kind, _, given in made.drawn if kind == "scatter" for one in given["c"]}
    assert {theme.FEDERATED, theme.HARMED} <= colours


def test_charts_say_their_numbers(made: Made, order: list[str]) -> None:
    """For a desk and for a telephone: accuracies, rounds, bytes and gains."""
    (_, table, *_) = tables_of(made.page, "point-0")
    own = [row[1] for row in table[1:5]]
    said = [dots_say(made, order), rounds_say(made, order), bytes_say(made, order)]
    said.append(gains_say(made, own))
    assert titles_of(made.page, "point-0") == [one for one in said for _ in range(2)]
