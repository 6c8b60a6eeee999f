"""Names of classes, clients and files are text in every section of both pages, whatever is in them.

Each of the two pages is read by a parser as a browser would: every element and attribute must be
one that fedtl itself writes, and the names must be there as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from made_comparison import result_with as scored
from plausible_result import plausible_result

from fedtl.comparison.plan import Cell, Plan, Point
from fedtl.comparison.runner import Compared
from fedtl.config import RunConfig
from fedtl.report.comparison_page import comparison_page
from fedtl.report.html import write_report
from fedtl.report.page import Section, page_of
from fedtl.results.detail import RunDetail, SitePanel
from fedtl.results.over_seeds import SeedScores, over_seeds
from fedtl.results.unseen import UnseenScore, UnseenSite

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=http://example.org/x onerror="alert(1)">',
    "' onload='alert(1)' evil='",
    "</title></style></svg><b>bold</b>&amp;&lt;",
    "{{ 7 * 7 }}{% raw %}",
)
REPORT = {
    "clients",
    "seeds",
    "new-data",
    "unseen",
    "unseen-sites",
    "accuracy",
    "data",
    "samples",
    "metrics",
    "confusion",
    "egress",
    "failures",
    "time",
    "configuration",
}
OURS = frozenset(
    [
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "footer",
        "script",
        "p",
        "h1",
        "h2",
        "h3",
        "a",
        "b",
        "dl",
        "dt",
        "dd",
        "ul",
        "li",
        "div",
        "span",
        "details",
        "summary",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "img",
        "code",
        "svg",
        "g",
        "path",
        "defs",
        "use",
        "clippath",
        "rect",
        "text",
        "tspan",
        "image",
    ]
)


class Read(HTMLParser):
    """What a page says by section, and every element and attribute in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.section = ""
        self.said: dict[str, list[str]] = {"": []}
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"title", "alt", "aria-label"}:
                self.said[self.section].append(value or "")
            if name in {"src", "href", "xlink:href"}:
                self.links.add(value or "")
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
            self.said[self.section] = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        self.said[self.section].append(data)


def check_inert(page: str) -> Read:
    read = Read(page)
    assert read.elements <= OURS
    assert page.count("<script") == 1
    assert not any(name.startswith("on") or name in {"evil", "srcset"} for name in read.attributes)
    assert all(link.startswith(("#", "data:")) for link in read.links)
    assert "{{ 7 * 7 }}" in page, "no template in a name is filled in"
    return read


def hostile_run() -> RunDetail:
    plain = plausible_result(clients=5, client_names=HOSTILE, classes=HOSTILE, with_failures=True)
    score = UnseenScore(0.8, 0.7, 0.75, 0.85)
    site = UnseenSite(
        name=HOSTILE[1],
        examples=50,
        federated=score,
        centralised=score,
        alone=dict.fromkeys(range(5), score),
        client_names=HOSTILE,
        unlearnt=HOSTILE,
    )
    figures: dict[str, dict[str, float | None]] = {
        way: {"accuracy": 0.5} for way in ("local_only", "federated")
    }
    metrics = {
        "macro_auroc": 0.9,
        "macro_f1": 0.8,
        "brier": 0.1,
        "calibration_error": 0.1,
        "auroc_error": 0.001,
    }
    summary = {
        **plain.summary,
        "note": SCRIPT,
        "scored_on": SCRIPT,
        "strategy": SCRIPT,
        "temperature": 1.5,
        "calibration_error_with_temperature": None,
        "local_only_methods": {SCRIPT: 1},
        "centralised_method": SCRIPT,
        "on_new_data": {**plain.summary["on_new_data"], "scored_on": SCRIPT},
        "federated": {**plain.summary["federated"], "metrics": metrics},
        "over_seeds": over_seeds([SeedScores(seed, figures, {}) for seed in (0, 1)]),
        "versions": {SCRIPT: SCRIPT},
    }
    rounds = [
        replace(row, failed=tuple(replace(one, reason=SCRIPT) for one in row.failed))
        for row in plain.rounds
    ]
    picture = np.zeros((8, 8, 3), np.uint8)
    return replace(
        plain,
        config={**plain.config, "data": SCRIPT, SCRIPT: SCRIPT},
        rounds=rounds,
        warnings=[f"{name}/x.png cannot be read." for name in HOSTILE],
        egress=[replace(total, record=SCRIPT, contents=SCRIPT) for total in plain.egress],
        summary=summary,
        panel=SitePanel(HOSTILE, HOSTILE, [[picture] * 5] * 5),
        unseen=site,
        unseen_sites=[site, replace(site, name=SCRIPT, client_names=HOSTILE[1:] + HOSTILE[:1])],
    )


@pytest.fixture(scope="module")
def report(
    undrawn: Callable[..., AbstractContextManager[None]], tmp_path_factory: pytest.TempPathFactory
) -> Read:
    path = tmp_path_factory.mktemp("report") / "report.html"
    with undrawn():
        write_report(path, hostile_run())
    return check_inert(path.read_text(encoding="utf-8"))


def test_the_report_has_every_section_and_the_top_names_the_data(report: Read) -> None:
    assert set(report.said) - {""} == REPORT
    top = "".join(report.said[""])
    assert SCRIPT in top and HOSTILE[1] in top


@pytest.mark.parametrize("section", sorted(REPORT - {"time", "metrics", "seeds"}))
def test_hostile_names_are_text_in_every_section_of_the_report(report: Read, section: str) -> None:
    """Time, metrics and seeds say nothing that comes from the data."""
    said = " ".join(report.said[section])
    assert SCRIPT in said or "<scrip…script>" in said


def test_hostile_names_are_whole_in_what_marks_say(report: Read) -> None:
    for section in ("clients", "data", "confusion"):
        assert any(name in " ".join(report.said[section]) for name in HOSTILE[1:3]), section


@dataclass(frozen=True)
class Unchecked(Plan):
    """A plan of strategies with any name."""

    named: Sequence[str] = field(default=HOSTILE)

    def __post_init__(self) -> None:
        pass

    def _config(self, point: Point, seed: int, strategy: str) -> RunConfig:
        return self.base.replace(seed=seed)


# Each chart is drawn once: with points, those of a point are plotted as without.
@pytest.mark.parametrize(
    ("vary", "charts"),
    [
        ({}, ()),
        ({"partition": ("iid", SCRIPT)}, ("comparison_plots.intervals",)),
        (
            {"alpha": (0.1, 0.5)},
            ("comparison_curves.accuracy_by_value", "theme.write_figure"),
        ),
    ],
)
def test_hostile_names_are_text_in_every_section_of_a_comparison(
    vary: dict[str, Any],
    charts: tuple[str, ...],
    undrawn: Callable[..., AbstractContextManager[None]],
) -> None:
    plan = Unchecked(RunConfig(data=f"/x/{HOSTILE[2]}"), HOSTILE, 5, vary=vary)
    cells = list(plan.cells())
    results = {cell: scored(cell, [0.5, 0.6]) for cell in cells}
    failed = {Cell(cells[0].point, SCRIPT, cells[0].config): f"{SCRIPT}.png cannot be read."}
    chosen: dict[str, Any] = {cell.name: {SCRIPT: 0.1} for cell in cells}
    with undrawn(*charts):
        read = check_inert(comparison_page(Compared(plan, results, failed, chosen)))
    points = {f"point-{place}" for place in range(len(plan.points))}
    overview = {"overview"} if vary else set()
    assert set(read.said) - {""} == points | overview | {"failures", "configuration"}
    for section in {*points, "failures"}:
        assert SCRIPT in " ".join(read.said[section]), section
    assert HOSTILE[2] in " ".join(read.said["configuration"])
    assert HOSTILE[2] in "".join(read.said[""])


def test_a_view_without_what_its_template_shows_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="heading"):
        page_of("base.html", "a page", [Section("One", "one", "table.html", {})])
