"""The page of a comparison: which strategy is best, its cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fedtl.comparison.plan import Cell, Plan, point_label, value_text
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Difference, Standings
from fedtl.report import comparison_curves as curves
from fedtl.report import comparison_plots as plots
from fedtl.report.comparison_look import Looks, looks
from fedtl.report.comparison_table import (
    READING_NAMES,
    REFERENCE_NAMES,
    count_text,
    own_data_captions,
    ranking_captions,
    ranking_cells,
    ranking_headings,
    references,
    shown_readings,
    spread_text,
    tuned_text,
)
from fedtl.report.comparison_verdict import own_verdict, verdict
from fedtl.report.page import Section, TextTable, page_of
from fedtl.report.theme import NARROW, Drawing, Plot
from fedtl.statistics.two_way import FEWEST_SEEDS
from fedtl.wording import MISSING, count_of, known, percent, sentence

_STAR = "\N{NO-BREAK SPACE}*"
_WORST = "worst: the client with the lowest accuracy, each on its own examples"


def comparison_page(compared: Compared) -> str:
    """Return the page, which makes no request: pictures and plots are inside."""
    every, plan = compared.points, compared.plan
    look = looks(every, plan.strategies)
    sections = [
        _overview(every, look),
        *(_point(at, look, place, alone=len(every) == 1) for place, at in enumerate(every)),
        _failures(compared.failed),
        _configuration(plan),
    ]
    return page_of(
        "comparison.html",
        f"fedtl comparison: {_subject(plan)}",
        sections,
        subject=_subject(plan),
        verdict=verdict(every),
        own_verdict=own_verdict(every),
        facts=_facts(compared),
        failed=len(compared.failed),
    )


def _subject(plan: Plan) -> str:
    data = Path(str(plan.base.data)).name
    return f"{data} · {_strategies(plan)}"


def _strategies(plan: Plan) -> str:
    count = len(plan.strategies)
    return f"{count} {'strategy' if count == 1 else 'strategies'}"


def _facts(compared: Compared) -> list[tuple[str, str]]:
    """Return figures, and their captions."""
    plan = compared.plan
    return [
        (_strategies(plan), ""),
        (count_of(plan.seeds, "seed"), ""),
        (f"{len(compared.results):,}", "runs"),
        *([] if "rounds" in plan.vary else [(count_of(_rounds(compared), "round"), "")]),
        *((key, ", ".join(map(value_text, values))) for key, values in plan.vary.items()),
    ]


def _rounds(compared: Compared) -> int:
    """Return how many rounds there are: one if no strategy takes more."""
    runs = compared.results.values()
    return compared.plan.base.most_rounds if any(len(run.rounds) > 1 for run in runs) else 1


def _overview(every: Sequence[Standings], look: Looks) -> Section | None:
    """Return the global heads at every point, then accuracy against the number that varies."""
    ranked = [at for at in every if at.rows]
    if len(every) < 2 or not ranked:
        return None
    keys = [key for key, _ in every[0].point]
    values = [dict(at.point)[keys[0]] for at in every]
    numbers = len(keys) == 1 and not any(isinstance(value, str | bool) for value in values)
    scored = [row for at in ranked for row in at.rows if known(row.accuracy.mean)]
    ends = [end for row in scored for end in row.interval or (row.accuracy.mean,)]
    limits = (min(ends), max(ends)) if ends else None
    view = {
        "heading": _question(ranked[0]),
        "points": [
            {"label": point_label(at.point), "dots": _dots(at, look, f"overview-{place}", limits)}
            for place, at in enumerate(ranked)
        ],
        "key": keys[0],
        "by_value": _both(partial(curves.accuracy_by_value, keys[0], every, look), "by-value")
        if numbers
        else None,
    }
    return Section("Overview", "overview", "comparison_overview.html", view)


def _point(at: Standings, look: Looks, place: int, *, alone: bool) -> Section:
    title = point_label(at.point) or "Standings"
    ranked = bool(at.rows)
    view: dict[str, Any] = {
        "heading": title,
        "question": _question(at),
        "dots": _dots(at, look, str(place)) if ranked and alone else None,
        "ranking": _ranking(at) if ranked else None,
        "ranking_told": _sentences(ranking_captions(at)),
        "own": _own_data(at),
        "own_told": _sentences([*own_data_captions(at), _WORST]),
        "gains": _both(partial(plots.gains, at), f"gains-{place}"),
        "rounds": _both(partial(curves.accuracy_by_round, at, look), f"rounds-{place}")
        if curves.takes_rounds(at)
        else None,
        "bytes": _both(partial(curves.accuracy_by_bytes, at, look), f"bytes-{place}")
        if ranked
        else None,
        "attacked": at.attacked,
        "differences": _differences(at),
        "significance": "Bold: p < .05 over seeds and test examples together, corrected for all "
        "pairs (Holm)."
        if at.seeds >= FEWEST_SEEDS
        else f"No difference is called significant below {FEWEST_SEEDS} seeds.",
        "tuned": TextTable(
            ["Strategy", "Values"], [[name, tuned_text(found)] for name, found in at.tuned.items()]
        ),
    }
    return Section(title, f"point-{place}", "comparison_point.html", view)


def _question(at: Standings) -> str:
    return "On new data" if at.new_data else "Global heads on all held-out rows"


def _dots(
    at: Standings, look: Looks, name: str, limits: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return every global head's accuracy with its interval."""
    over = "seeds and test examples together." if at.seeds > 1 else "test examples."
    return {
        "told": f"Accuracy of each global head, mean over seeds, and its 95% interval, over {over}"
        + (" Hollow: the same without the attack." if at.attacked else "")
        + (
            " The green stroke below is the same training on all data in one place; its line is "
            f"one standard deviation over {at.pooled_over}."
            if any(known(row.pooled.mean) for row in at.rows)
            else ""
        ),
        "plots": _both(partial(plots.intervals, at, look, limits=limits), f"intervals-{name}"),
    }


def _both(draw: Callable[..., Drawing], name: str) -> tuple[Plot, Plot]:
    """Return a chart for wide screens and paper, and one for telephones."""
    return draw().plot(name), draw(width=NARROW).plot(f"{name}-narrow")


def _ranking(at: Standings) -> TextTable:
    headings = ["Strategy", "Accuracy", *ranking_headings(at)[1:]]
    headings.insert(3, "Balanced")
    if at.attacked:  # without an attack they are there already
        headings.insert(5, "Pooled")
    rows = []
    for row in at.rows:
        cells = ranking_cells(row)
        cells.insert(2, spread_text(row.balanced))
        if at.attacked:
            cells.insert(4, spread_text(row.pooled))
        rows.append([f"{row.strategy}{_STAR if row.behind else ''}", *cells])
    beside = references(at)
    rows += [[name, spread_text(one), *[""] * (len(headings) - 2)] for name, one in beside.items()]
    styles = ["best", *[""] * (len(at.rows) - 1), *["reference"] * len(beside)]
    roomy = [at for at, heading in enumerate(headings) if heading in ("Balanced", "Time")]
    return TextTable(headings, rows, range(1, len(headings)), styles, roomy=roomy)


def _own_data(at: Standings) -> TextTable:
    """Return the scores of every kind of head on clients' own data, beside local-only."""
    shown = shown_readings(at)
    headers = ["Strategy"]
    for way in shown:
        headers += [READING_NAMES[way], "worst", "+/\N{MINUS SIGN}"]
    rows, styles = [], []
    for row in at.own.rows:
        cells = []
        for way in shown:
            one = row.readings.get(way)
            if one is None:
                cells += [MISSING, "", ""]
                continue
            cells += [
                spread_text(one.accuracy),
                percent(one.worst_client.mean).removesuffix("%"),
                f"{count_text(one.better)}/{count_text(one.worse)}",
            ]
        rows.append([row.strategy, *cells])
        styles.append("")
    for way, (accuracy, worst) in at.own.references.items():
        cells = [spread_text(accuracy), percent(worst.mean).removesuffix("%")]
        rows.append([REFERENCE_NAMES[way], *cells, *[""] * (len(headers) - 3)])
        styles.append("reference")
    roomy = range(2, len(headers), 3)  # of the worst clients
    return TextTable(headers, rows, range(1, len(headers)), styles, roomy=roomy)


def _sentences(lines: Sequence[str]) -> str:
    return " ".join(map(sentence, lines))


def _differences(at: Standings) -> dict[str, list[Difference | None]]:
    """Return the difference of every pair; empty without pairs."""
    names = [row.strategy for row in at.rows]
    if len(names) < 2 or at.seeds < 2:
        return {}
    return {a: [None if a == b else at.differences[a, b] for b in names] for a in names}


def _failures(failed: Mapping[Cell, str]) -> Section | None:
    if not failed:
        return None
    rows = [[cell.strategy, cell.scene.replace("_", ", "), why] for cell, why in failed.items()]
    view = {
        "heading": "Runs that failed",
        "told": "",
        "table": TextTable(["Strategy", "Run", "Reason"], rows),
        "after": "",
    }
    return Section("Failures", "failures", "table.html", view)


def _configuration(plan: Plan) -> Section:
    shared = {
        key: value
        for key, value in plan.base.to_mapping().items()
        if key not in (*plan.vary, "strategy", "name", "out")
    }
    return Section(
        "Configuration", "configuration", "comparison_configuration.html", {"shared": shared}
    )
