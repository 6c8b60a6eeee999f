"""Means over seeds, paired tests and their correction, held against scipy and by hand."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_comparison import comparison_of, result_with

from fedtl.comparison.marks import Marks, difference_of
from fedtl.comparison.plan import Plan
from fedtl.comparison.result import CellResult, ClientScore
from fedtl.comparison.rows import cell_rows
from fedtl.comparison.runner import Compared
from fedtl.comparison.spread import Spread
from fedtl.comparison.standings import standings
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.report.comparison_files import comparison_tex, escaped_tex
from fedtl.report.comparison_page import comparison_page
from fedtl.report.comparison_plots import gains
from fedtl.report.comparison_table import ranking_captions, ranking_headings
from fedtl.report.comparison_verdict import verdict
from fedtl.statistics.verdicts import Verdict, holm


def test_the_spread_is_that_of_a_sample() -> None:
    values = [0.2, None, 0.5, 0.9]
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean([0.2, 0.5, 0.9]))
    assert spread.sd == pytest.approx(np.std([0.2, 0.5, 0.9], ddof=1))
    assert spread.count == 3
    assert math.isnan(Spread.of([0.3]).sd)
    assert math.isnan(Spread.of([]).mean)


def test_holms_correction_by_hand() -> None:
    """Holm 1979: the smallest of m by m, the next by m - 1, never less than the one before."""
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_no_more_than_no_correction_and_no_less_than_bonferroni(
    p_values: list[float],
) -> None:
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_the_most_accurate_is_first_and_who_is_clearly_behind_is_marked() -> None:
    curves = {
        "fedavg": [[0.70], [0.71], [0.69], [0.70], [0.70]],
        "fed3r": [[0.90], [0.91], [0.89], [0.90], [0.90]],
        "fedprox": [[0.80], [0.99], [0.70], [0.91], [0.95]],
    }
    at = standings(comparison_of(curves))[0]
    assert [row.strategy for row in at.rows] == ["fed3r", "fedprox", "fedavg"]
    assert [row.behind for row in at.rows] == [False, False, True]
    assert verdict([at]) == "Most accurate on new data: fed3r 90.0%, surely ahead of 1 of 2 others."
    found = at.differences["fed3r", "fedavg"]
    assert found.mean == pytest.approx(0.2)
    assert found.significant
    assert at.differences["fedavg", "fed3r"].mean == -found.mean
    assert not at.differences["fed3r", "fedprox"].significant
    for row in at.rows:
        assert row.interval is not None
        assert row.interval.low < row.accuracy.mean < row.interval.high


def test_the_caption_says_what_pooled_training_is_a_mean_over() -> None:
    told = "pooled: the same training on all data in one place, over seeds"
    at = standings(comparison_of({"fedavg": [[0.5]] * 2, "fed3r": [[0.9]] * 2}))[0]
    assert f"{told} and shuffles" in ranking_captions(at)
    once = [
        replace(row, results={seed: replace(run, trained=run.trained[:1]) for seed, run in each})
        for row in at.rows
        for each in [row.results.items()]
    ]
    assert told in ranking_captions(replace(at, rows=once))


def test_below_five_seeds_nothing_is_called_significant() -> None:
    curves = {"fedavg": [[0.5]] * 4, "fed3r": [[0.9]] * 4}
    at = standings(comparison_of(curves))[0]
    assert at.differences["fed3r", "fedavg"].p < 1e-6
    assert not at.differences["fed3r", "fedavg"].significant
    assert not any(row.behind for row in at.rows)
    assert verdict([at]).endswith("fed3r 90.0%; 4 seeds cannot tell how surely.")
    assert any("no * below 5 seeds" in line for line in ranking_captions(at))
    more = standings(comparison_of({name: [*each, each[0]] for name, each in curves.items()}))[0]
    assert more.differences["fed3r", "fedavg"].significant
    assert [row.behind for row in more.rows] == [False, True]


def test_heads_of_clients_own_are_never_ranked_with_global_heads() -> None:
    """The lead of ``local`` on clients' own data sets no target and makes no star."""
    plan = Plan(RunConfig(), ("local", "fedavg", "ditto"), 5)
    results = {}
    for cell in plan.cells():
        lone = cell.strategy == "local"
        own = {"federated": 0.879 if lone else 0.6, "corrected": 0.7}
        if lone:
            own.pop("corrected")
        if cell.strategy == "ditto":
            own["personal"] = 0.95
        verdicts: list[dict[str, Verdict]] = [{"federated": "worse", "corrected": "better"}]
        results[cell] = result_with(
            cell, [0.99 if lone else 0.6], global_head=not lone, own=own, verdicts=verdicts
        )
    compared = Compared(plan, results, {}, {})
    at = standings(compared)[0]
    assert {row.strategy for row in at.rows} == {"fedavg", "ditto"}
    assert at.target == pytest.approx(0.95 * 0.6)
    assert all(row.reached == 5 for row in at.rows)
    assert not any("local" in pair for pair in at.differences)
    assert not any(row.behind for row in at.rows)
    assert [row.strategy for row in at.own.rows] == ["ditto", "local", "fedavg"]
    own_rows = {row.strategy: row.readings for row in at.own.rows}
    assert set(own_rows["local"]) == {"personal"}
    assert own_rows["local"]["personal"].accuracy.mean == pytest.approx(0.879)
    assert own_rows["ditto"]["personal"].accuracy.mean == pytest.approx(0.95)
    assert set(own_rows["fedavg"]) == {"federated", "corrected"}
    assert own_rows["fedavg"]["federated"].worse.mean == 1
    assert own_rows["fedavg"]["corrected"].better.mean == 1
    assert "local" not in verdict([at])


def test_a_comparison_of_lone_heads_alone_ranks_nobody() -> None:
    plan = Plan(RunConfig(), ("local",), 2)
    results = {cell: result_with(cell, [0.9], global_head=False) for cell in plan.cells()}
    compared = Compared(plan, results, {}, {})
    at = standings(compared)[0]
    assert not at.rows
    assert math.isnan(at.target)
    assert "none is ranked" in comparison_page(compared)
    assert r"\label{tab:own-data-0}" in comparison_tex(compared)


def test_runs_under_attack_stand_beside_the_same_without_it() -> None:
    base = RunConfig(attack="sign-flip")
    plan = Plan(base, ("fedavg", "krum"), 2, vary={"attackers": (0.1, 0.2)})
    cells = list(plan.cells())
    clean = [cell for cell in cells if cell.config.attack == "none"]
    assert len(cells) == 2 * 2 * 2 + 2 * 2, "the clean runs are shared by both points"
    assert {cell.point for cell in clean} == {(("attack", "none"),)}
    results = {cell: result_with(cell, [0.9 if cell in clean else 0.4]) for cell in cells}
    every = standings(Compared(plan, results, {}, {}))
    assert [at.point for at in every] == [(("attackers", 0.1),), (("attackers", 0.2),)]
    for at in every:
        for row in at.rows:
            assert row.accuracy.mean == pytest.approx(0.4)
            assert row.clean is not None
            assert row.clean.mean == pytest.approx(0.9)
        assert "No attack" in ranking_headings(at)
    varied = Plan(RunConfig(), ("fedavg",), 1, vary={"attack": ("none", "noise", "scale")})
    assert len(list(varied.cells())) == 3, "a clean run that there is anyway is not run again"
    assert varied.without_attack((("attack", "noise"),)) == (("attack", "none"),)
    assert varied.without_attack((("attack", "none"),)) is None
    rows = cell_rows(Compared(plan, results, {}, {}))
    assert sorted({row["attack"] for row in rows}) == ["none", "sign-flip"]


def test_rounds_and_bytes_count_to_the_first_round_that_reaches_the_target() -> None:
    curves = {
        "fedavg": [[0.1, 0.5, 0.4, 0.9], [0.5, 0.6, 0.7, 0.8]],
        "fedprox": [[0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.4]],
    }
    first, second = standings(comparison_of(curves, target=0.5))[0].rows
    assert (first.strategy, first.reached) == ("fedavg", 2)
    assert first.rounds.mean == (2 + 1) / 2
    assert first.bytes.mean == (200 + 100) / 2
    assert (second.reached, second.rounds.mean) == (1, 4)
    by_default = standings(comparison_of(curves))[0]
    assert by_default.target == pytest.approx(0.95 * 0.85)


def test_harmed_are_those_whose_verdict_is_worse_of_the_head_they_would_use() -> None:
    plan = Plan(RunConfig(), ("fedavg",), 1)
    cell = next(plan.cells())
    clients = [
        ClientScore(9, {"local_only": 0.5, "federated": 0.4}, {"federated": "worse"}),
        ClientScore(9, {"local_only": 0.5, "federated": 0.4}, {"federated": "no clear difference"}),
        ClientScore(9, {"local_only": 0.5, "federated": 0.4}, {}),
        ClientScore(
            9,
            {"local_only": 0.5, "federated": 0.1, "personal": 0.7},
            {"federated": "worse", "personal": "better"},
        ),
        ClientScore(9, {}, {}),
    ]
    result = replace(result_with(cell, [0.9]), clients=clients)
    assert result.harmed == 1
    assert result.verdicts("federated", "worse") == 2
    assert [client.gain(client.used) for client in clients] == pytest.approx(
        [-0.1, -0.1, -0.1, 0.2, None]
    )
    assert clients[3].gain("federated") == pytest.approx(-0.4)
    assert CellResult.from_json(result.to_json()) == result


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("verdict", ["better", "worse", "no clear difference"])
def test_gains_are_in_colour_only_if_the_test_says_so(verdict: Verdict) -> None:
    """Whichever sign a gain has."""
    plan = Plan(RunConfig(), ("fedavg",), 1)
    cell = next(plan.cells())
    accuracies = {"local_only": 0.5, "federated": 0.4, "corrected": 0.6}
    client = ClientScore(9, accuracies, {"federated": verdict})
    result = replace(result_with(cell, [0.9]), clients=[client])
    drawing = gains(standings(Compared(plan, {cell: result}, {}, {}))[0])
    picture = drawing.plot("gains").svg
    assert ("var(--harmed)" in picture) == (verdict == "worse")
    assert ("var(--federated)" in picture) == (verdict == "better")
    assert "var(--corrected)" in picture
    assert "median -10.0 points; corrected +10.0" in drawing.alt


def test_the_same_training_on_pooled_data_is_a_mean_over_seeds_and_shuffles() -> None:
    """Beside two seeds at .8 and .6: three shuffles each, .01 below, as good, .04 above."""
    compared = comparison_of({"fedavg": [[0.8], [0.6]], "fed3r": [[0.7], [0.7]]})
    at = standings(compared)[0]
    found = next(row.pooled for row in at.rows if row.strategy == "fedavg")
    values = [0.79, 0.8, 0.84, 0.59, 0.6, 0.64]
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert found.count == 6
    row = cell_rows(compared)[0]
    assert row["new_data_pooled_training_accuracy"] == pytest.approx(0.81)
    assert row["new_data_pooled_training_sd"] == pytest.approx(np.std(values[:3], ddof=1))
    assert row["pooled_training_accuracy"] == pytest.approx(0.7)
    assert row["pooled_training_shuffles"] == 3
    assert f"{100 * found.mean:.1f}$\\pm${100 * found.sd:.1f}" in comparison_tex(compared)
    assert ranking_headings(at)[2] == "Pooled"


def test_what_searches_chose_is_told_of_each_point_seed_by_seed() -> None:
    plan = Plan(RunConfig(), ("fedavg", "fed3r"), 2, vary={"alpha": (0.1, 1.0)})
    cells = list(plan.cells())
    chosen = {
        cell.name: {"learning_rate": float(place)}
        for place, cell in enumerate(cells)
        if cell.strategy == "fedavg"
    }
    results = {cell: result_with(cell, [0.5]) for cell in cells}
    every = standings(Compared(plan, results, {}, chosen))
    assert len(every) == 2
    for at in every:
        rates = tuple(
            chosen[cell.name]["learning_rate"]
            for cell in cells
            if (cell.point, cell.strategy) == (at.point, "fedavg")
        )
        assert len(rates) == 2
        assert at.tuned == {"fedavg": {"learning_rate": rates}}


def test_marks_read_back() -> None:
    right = np.random.default_rng(0).random(1001) < 0.7
    units = np.random.default_rng(1).integers(0, 50, 1001)
    marks = Marks.of(right, units)
    assert (marks.right == right).all()
    assert (marks.units == units).all()
    assert len(Marks.of(right, np.arange(1001)).numbers) < 60


def test_names_are_escaped_for_latex() -> None:
    told = escaped_tex("my_rules:A&B 50% {x} #1 ~^\\ $ <3 70.1±0.2 −1")
    assert told == (
        r"my\_rules:A\&B 50\% \{x\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} \$ "
        r"\textless{}3 70.1$\pm$0.2 $-$1"
    )


_HOSTILE = {
    "fedavg": "a_b & 50 % #1",
    "fed3r": r"my_rules:A\B{x}~^ $y$",
    "fedprox": "<n\u00e4me> \u201cq\u201d \u2013 \u00e9 \u00bd",
}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles_whatever_names_hold(tmp_path: Path) -> None:
    compared = comparison_of({name: [[0.7 + 0.1 * at]] * 5 for at, name in enumerate(_HOSTILE)})
    (at,) = compared.points
    point = (("data", "/x_y/50%#1 & co"), ("alpha", 0.1))
    rows = [replace(row, strategy=_HOSTILE[row.strategy]) for row in at.rows]
    own = [replace(row, strategy=_HOSTILE[row.strategy]) for row in at.own.rows]
    renamed = replace(at, point=point, rows=rows, own=replace(at.own, rows=own))
    compared.__dict__["points"] = [renamed]
    tables = comparison_tex(compared)
    whole = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}%s\\end{document}"
    (tmp_path / "paper.tex").write_text(whole % tables, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 5000


def test_letters_that_pdflatex_lacks_are_told() -> None:
    compared = comparison_of({"fedavg": [[0.7]] * 5})
    assert not comparison_tex(compared).startswith("% Holds letters")
    (at,) = compared.points
    compared.__dict__["points"] = [replace(at, point=(("data", "\u6f22"),))]
    assert comparison_tex(compared).startswith("% Holds letters that pdflatex does not know")


def test_other_examples_are_not_compared() -> None:
    right = np.ones(5, np.bool_)
    first, second = Marks.of(right, np.arange(5)), Marks.of(right, np.arange(1, 6))
    with pytest.raises(UsageError, match="data has changed"):
        difference_of({0: first}, {0: second})


def test_who_is_behind_is_judged_over_the_seeds_that_all_have() -> None:
    curves = {f"{name}": [[level]] * 6 for name, level in zip(_MANY, _LEVELS, strict=True)}
    compared = comparison_of(curves)
    at = standings(compared)[0]
    assert {row.strategy for row in at.rows if row.behind} == {
        "fedavg",
        "fedprox",
        "fednova",
        "feddyn",
    }
    lost = {
        cell: result
        for cell, result in compared.results.items()
        if (cell.strategy, cell.config.seed) != ("scaffold", 2)
        and (cell.strategy != "fedavg" or cell.config.seed < 4)
    }
    fewer = standings(replace(compared, results=lost))[0]
    assert {row.strategy for row in fewer.rows if row.behind} == {"fedprox", "fednova", "feddyn"}


_MANY = ("fed3r", "fedavg", "fedprox", "fednova", "feddyn", "scaffold")
_LEVELS = (0.9, 0.8, 0.84, 0.86, 0.88, 0.9)
