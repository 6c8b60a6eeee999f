"""The page of a comparison: what comes first, and one scale for what is to be compared by eye."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from comparison_pages import page_of
from made_comparison import result_with as scored

from fedtl.comparison.plan import Plan
from fedtl.comparison.runner import Compared
from fedtl.config import RunConfig
from fedtl.report.comparison_page import comparison_page

# Of the page's charts, those that are looked at here.
LOOKED_AT = (
    *("comparison_plots.intervals", "comparison_curves.accuracy_by_value"),
    "theme.write_figure",
)


@pytest.fixture(scope="module")
def page_with(undrawn: Callable[..., AbstractContextManager[None]]) -> Callable[..., str]:
    """Return the page of a comparison in which a key varies, or none; drawn once."""

    @functools.cache
    def page(**vary: tuple[object, ...]) -> str:
        with undrawn(*LOOKED_AT):
            return page_of(**vary)

    return page


@pytest.mark.parametrize("vary", [{}, {"alpha": (0.1, 1.0)}, {"partition": ("iid", "shard")}])
def test_global_heads_on_new_data_come_first(
    vary: dict[str, Any], page_with: Callable[..., str]
) -> None:
    page = page_with(**vary)
    first = re.search(r"<svg [^>]*>|<table", page)
    assert first is not None
    assert 'aria-label="Accuracy with its 95% interval: fedadam 8' in first[0]
    dots = page.count('aria-label="Accuracy with its 95% interval')
    points = 2 if vary else 1
    assert dots == 2 * points, "for a desk and for a telephone, once at every point"
    assert page[: page.index("<table")].count('aria-label="Accuracy with its') == dots
    if "alpha" in vary:
        by_value = page.index("Final accuracy of every strategy by alpha.")
        assert page.rindex('aria-label="Accuracy with its') < by_value < page.index("<table")


def test_points_share_one_scale(page_with: Callable[..., str]) -> None:
    page = page_with(alpha=(0.1, 1.0))
    charts = re.findall(r'<svg [^>]*aria-label="Accuracy with its.*?</svg>', page, re.DOTALL)
    scales = [re.findall(r">(\d+(?:\.\d)?%)<", chart) for chart in charts]
    assert scales[0] == scales[2] and scales[1] == scales[3]
    assert len(scales[0]) > 3


def test_above_eight_strategies_the_rest_is_grey(page_with: Callable[..., str]) -> None:
    (chart, _) = re.findall(
        r'<svg [^>]*aria-label="Accuracy with its.*?</svg>', page_with(), re.DOTALL
    )
    assert len(set(re.findall(r"var\(--series-\d\)", chart))) == 6, "the best five, and FedAvg"


def test_under_attack_the_page_has_both_what_is_without_it_and_what_is_pooled() -> None:
    plan = Plan(RunConfig(attack="sign-flip"), ("fedavg", "krum"), 2)
    results = {
        cell: scored(cell, [0.9 if cell.config.attack == "none" else 0.4]) for cell in plan.cells()
    }
    page = comparison_page(Compared(plan, results, {}, {}))
    (head, row) = re.findall(r"<tr.*?</tr>", page[page.index("<table") :], re.DOTALL)[:2]
    columns, cells = (re.findall(r">([^<>]+)</t[hd]>", line) for line in (head, row))
    told = dict(zip(columns, cells, strict=True))
    assert told["No attack"] == "90.0±0.0"
    assert told["Pooled"].startswith("41.0")  # 1 point above the attacked head, as scored() has it
    assert told["Balanced"] == "40.0±0.0" == told["Accuracy"]


def test_a_few_labels_lie_evenly_and_no_curve_is_drawn_of_one_round(
    undrawn: Callable[..., AbstractContextManager[None]],
) -> None:
    plan = Plan(RunConfig(rounds=50), ("fedncm", "fed3r"), 2, vary={"shots": (1, 2, 4, 8)})
    results = {cell: scored(cell, [0.5]) for cell in plan.cells()}
    with undrawn(*LOOKED_AT):
        page = comparison_page(Compared(plan, results, {}, {}))
    assert "By round" not in page and "By bytes" in page
    assert ">1 round<" in page and "50 rounds" not in page
    chart = re.search(r'<svg [^>]*aria-label="Final accuracy of every.*?</svg>', page, re.DOTALL)
    assert chart is not None
    places = [float(x) for x in re.findall(r'x="([\d.]+)"[^>]*>[1248]</text>', chart[0])]
    assert len(places) == 4
    assert places[1] - places[0] == pytest.approx(places[3] - places[2], abs=0.1)
