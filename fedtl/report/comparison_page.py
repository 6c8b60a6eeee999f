"""The page of a comparison: which strategy is best here, at what price, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtl.comparison.plan import Cell, Plan, point_label, value_text
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Standings, standings
from fedtl.report import comparison_plots as plots
from fedtl.report.comparison_plots import Look
from fedtl.report.comparison_table import (
    HEADINGS,
    captions,
    spread_text,
    standing_cells,
    tuned_text,
)
from fedtl.report.markup import captioned, definitions, escaped, table_of
from fedtl.report.page import page_of
from fedtl.report.wording import count_of, percent, points, shortened


def comparison_page(compared: Compared) -> str:
    """Return the page: no request leaves it, pictures and plots lie inside."""
    every = standings(compared)
    look = plots.looks(compared.plan.strategies)
    sections: dict[str, tuple[str, str]] = {"Overview": ("overview", _overview(every, look))}
    for place, at in enumerate(every):
        title = point_label(at.point) or "Standings"
        sections[title] = (f"point-{place}", _point(at, look, place, title))
    sections["Failures"] = ("failures", _failures(compared.failed))
    sections["Configuration"] = ("configuration", _configuration(compared.plan))
    return page_of(
        f"fedtl comparison: {_subject(compared.plan)}", _headline(compared, every), sections
    )


def _subject(plan: Plan) -> str:
    data = Path(str(plan.base.data)).name
    return f"{data} · {_strategies(plan)}"


def _strategies(plan: Plan) -> str:
    count = len(plan.strategies)
    return f"{count} {'strategy' if count == 1 else 'strategies'}"


def _headline(compared: Compared, every: Sequence[Standings]) -> str:
    plan = compared.plan
    facts = [
        f"<b>{_strategies(plan)}</b>",
        f"<b>{count_of(plan.seeds, 'seed')}</b>",
        f"<b>{len(compared.results):,}</b> runs",
        *([] if "rounds" in plan.vary else [f"<b>{count_of(plan.base.rounds, 'round')}</b>"]),
        *(
            f"<b>{escaped(key)}</b> {escaped(', '.join(map(value_text, values)))}"
            for key, values in plan.vary.items()
        ),
    ]
    items = "".join(f"<li>{fact}</li>" for fact in facts)
    if compared.failed:
        items += (
            f'<li class="bad"><a class="bad" href="#failures">{len(compared.failed)} failed</a>'
        )
    return (
        f'<p class="eyebrow">{escaped(_subject(plan))}</p>\n<h1>{escaped(verdict(every))}</h1>\n'
        f'<ul class="facts">{items}</ul>'
    )


def verdict(every: Sequence[Standings]) -> str:
    """Return which strategy is most accurate, in the sentence at the top of the page."""
    best = {point_label(at.point): _best(at) for at in every}
    names = list(dict.fromkeys(name for name, _ in best.values()))
    if len(names) == 1 and len(every) > 1:
        scores = [score for _, score in best.values()]
        low, high = percent(min(scores)), percent(max(scores))
        verb = "are" if " and " in names[0] else "is"
        span = low if low == high else f"{low} to {high}"
        return f"{names[0]} {verb} the most accurate throughout: {span}."
    parts = [
        f"{name} {percent(score)}" + (f" at {label}" if label else "")
        for label, (name, score) in best.items()
    ]
    return f"Most accurate: {'; '.join(parts)}."


def _best(at: Standings) -> tuple[str, float]:
    """Return the best strategy, or the several that give the same, and its accuracy."""
    score = at.rows[0].accuracy.mean
    names = [row.strategy for row in at.rows if row.accuracy.mean == score] or [at.rows[0].strategy]
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names), score


def _overview(every: Sequence[Standings], look: Mapping[str, Look]) -> str:
    """Return accuracy against the one number that varies."""
    keys = [key for key, _ in every[0].point]
    if len(keys) != 1 or len(every) < 2:
        return ""
    if any(isinstance(dict(at.point)[keys[0]], str | bool) for at in every):
        return ""
    return f"<h2>Accuracy by {escaped(keys[0])}</h2>\n" + captioned(
        plots.accuracy_by_value(keys[0], every, dict(look), "by-value"),
        "Final accuracy of the global head, mean over seeds; the band is one standard deviation.",
    )


def _point(at: Standings, look: dict[str, Look], place: int, title: str) -> str:
    rounds = captioned(
        plots.accuracy_by_round(at, look, f"rounds-{place}"),
        "The global head after every round, mean over seeds; the band is one standard deviation. "
        "A mark with a dotted line is a strategy of one round.",
    )
    sent = captioned(
        plots.accuracy_by_bytes(at, look, f"bytes-{place}"),
        "The same against all bytes until then, handshake and standardisation included.",
    )
    gained = captioned(
        plots.gains(at, f"gains-{place}"),
        "Accuracy on each client's own held-out examples minus that of its own head: a dot per "
        "client and seed, the middle half as a bar, the median as a stroke. Left of 0, federation "
        "harmed.",
    )
    return (
        f"<h2>{escaped(title)}</h2>\n{_table(at)}\n<h3>By round</h3>\n{rounds}\n"
        f"<h3>By bytes</h3>\n{sent}\n<h3>What clients gain</h3>\n{gained}\n{_matrix(at)}"
    )


def _table(at: Standings) -> str:
    tuned = any(row.tuned for row in at.rows)
    headers = ["Strategy", *HEADINGS, *(["Tuned"] if tuned else [])]
    rows = [
        [
            f"{row.strategy}{' *' if row.behind else ''}",
            *standing_cells(row),
            *([tuned_text(row)] if tuned else []),
        ]
        for row in at.rows
    ]
    styles = ["best", *[""] * (len(at.rows) - 1)]
    for name, scores in (("centralised", at.centralised), ("local-only", at.local_only)):
        spreads = [
            spread_text(scores[key])
            for key in ("accuracy", "mean_client_accuracy", "worst_client_accuracy")
        ]
        rows.append([name, *spreads, *[""] * (len(headers) - 4)])
        styles.append("reference")
    table = table_of(headers, rows, numbers=range(1, 8), row_classes=styles)
    notes = " ".join(f"{line[0].upper()}{line[1:]}." for line in captions(at))
    return f"{table}\n<p>{escaped(notes)}</p>"


def _matrix(at: Standings) -> str:
    """Return who is ahead of whom, and whether chance would hardly give that."""
    names = [row.strategy for row in at.rows]
    if len(names) < 2 or max(len(row.results) for row in at.rows) < 2:
        return ""
    head = "".join(f'<th scope="col">{escaped(shortened(name, 14))}</th>' for name in names)
    body = []
    for a in names:
        cells = []
        for b in names:
            if a == b:
                cells.append("<td></td>")
                continue
            found = at.differences[a, b]
            style = ' class="significant"' if found.significant else ""
            cells.append(f'<td{style} title="p = {found.p:.3g}">{points(found.mean)}</td>')
        body.append(f'<tr><th scope="row">{escaped(shortened(a, 22))}</th>{"".join(cells)}</tr>')
    return (
        "<h3>Differences</h3>\n<p>Points of accuracy by which the row is ahead of the column, mean "
        "over seeds. Bold: p &lt; .05 in a paired t-test over seeds, corrected for all pairs "
        "(Holm); with few seeds even a large difference may not be.</p>\n"
        f'<div class="table"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _failures(failed: Mapping[Cell, str]) -> str:
    if not failed:
        return ""
    rows = [[cell.strategy, cell.scene.replace("_", ", "), why] for cell, why in failed.items()]
    return "<h2>Runs that failed</h2>\n" + table_of(["Strategy", "Run", "Reason"], rows)


def _configuration(plan: Plan) -> str:
    shared = {
        key: value
        for key, value in plan.base.to_mapping().items()
        if key not in (*plan.vary, "strategy", "name", "out")
    }
    return (
        "<h2>Configuration</h2>\n<p>What all runs share. Each run's own file lies in cells/, and "
        "<code>python -m fedtl.simulate --config</code> with it gives the same head.</p>\n"
        f"{definitions(shared)}"
    )
