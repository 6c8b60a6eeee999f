"""The page of a comparison: which strategy is best here, at what price, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtl.comparison.plan import Cell, Plan, point_label, value_text
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Standings
from fedtl.report import comparison_plots as plots
from fedtl.report.comparison_look import looks
from fedtl.report.comparison_plots import Looks
from fedtl.report.comparison_table import (
    READING_NAMES,
    REFERENCE_NAMES,
    count_text,
    own_data_captions,
    ranking_captions,
    ranking_cells,
    ranking_headings,
    shown_readings,
    spread_text,
    tuned_text,
)
from fedtl.report.markup import captioned, definitions, escaped, table_of
from fedtl.report.page import page_of
from fedtl.report.wording import (
    MISSING,
    count_of,
    known,
    percent,
    points,
    points_span,
    shortened,
)
from fedtl.statistics.two_way import FEWEST_SEEDS

# As wide as a phone leaves to a chart, in CSS pixels.
_NARROW = 320.0
_STAR = "\N{NO-BREAK SPACE}*"
_WORST = "worst: the client with the lowest accuracy, each on its own examples"


def comparison_page(compared: Compared) -> str:
    """Return the page: no request leaves it, pictures and plots lie inside."""
    every = compared.points
    look = looks(every, compared.plan.strategies)
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
        f'<p class="scored">{escaped(own_verdict(every))}</p>\n<ul class="facts">{items}</ul>'
    )


def verdict(every: Sequence[Standings]) -> str:
    """Return which global head is most accurate, in the sentence at the top of the page."""
    best = {point_label(at.point): found for at in every if (found := _best(at)) is not None}
    if not best:
        return "No strategy here has a global head, so none is ranked."
    where = "on new data" if every[0].new_data else "on held-out examples"
    names = list(dict.fromkeys(name for name, _ in best.values()))
    if len(names) == 1 and len(best) > 1:
        scores = [score for _, score in best.values()]
        low, high = percent(min(scores)), percent(max(scores))
        verb = "are" if " and " in names[0] else "is"
        span = low if low == high else f"{low} to {high}"
        return f"{names[0]} {verb} the most accurate {where} throughout: {span}."
    parts = [
        f"{name} {percent(score)}" + (f" at {label}" if label else "")
        for label, (name, score) in best.items()
    ]
    return f"Most accurate {where}: {'; '.join(parts)}."


def _best(at: Standings) -> tuple[str, float] | None:
    """Return the best strategy, or the several that give the same, and its accuracy."""
    if not at.rows or not known(at.rows[0].accuracy.mean):
        return None
    score = at.rows[0].accuracy.mean
    names = [row.strategy for row in at.rows if row.accuracy.mean == score]
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names), score


def own_verdict(every: Sequence[Standings]) -> str:
    """Return what clients have of it on their own data, in one sentence."""
    parts = []
    for at in every:
        first = at.own.rows[0]
        if not known(first.best):
            continue
        way = max(
            (way for way, one in first.readings.items() if known(one.accuracy.mean)),
            key=lambda way: first.readings[way].accuracy.mean,
        )
        label = point_label(at.point)
        alone = at.own.references["local_only"][0].mean
        parts.append(
            (f"at {label}: " if label else "")
            + f"{first.strategy} ({READING_NAMES[way].lower()}) {percent(first.best)}, alone "
            + percent(alone)
        )
    return f"On clients' own data: {'; '.join(parts)}." if parts else ""


def _overview(every: Sequence[Standings], look: Looks) -> str:
    """Return accuracy against the one number that varies."""
    keys = [key for key, _ in every[0].point]
    if len(keys) != 1 or len(every) < 2 or not any(at.rows for at in every):
        return ""
    if any(isinstance(dict(at.point)[keys[0]], str | bool) for at in every):
        return ""
    return f"<h2>Accuracy by {escaped(keys[0])}</h2>\n" + captioned(
        plots.accuracy_by_value(keys[0], every, look).plot("by-value"),
        "Final accuracy of the global head, mean over seeds; the band is one standard deviation.",
    )


def _point(at: Standings, look: Looks, place: int, title: str) -> str:
    parts = [f"<h2>{escaped(title)}</h2>"]
    if at.rows:
        parts += [f"<h3>{_on_new_data(at)}</h3>", _ranking(at, look, place)]
    parts += ["<h3>On clients' own data</h3>", _own_data(at)]
    if at.rows:
        rounds = captioned(
            plots.accuracy_by_round(at, look).plot(f"rounds-{place}"),
            "The global head after every round, mean over seeds; the band is one standard "
            "deviation. A mark with a dotted line is a strategy of one round.",
        )
        sent = captioned(
            plots.accuracy_by_bytes(at, look).plot(f"bytes-{place}"),
            "The same against all bytes until then, handshake and standardisation included.",
        )
        parts += ["<h3>By round</h3>", rounds, "<h3>By bytes</h3>", sent]
    gained = captioned(
        plots.gains(at).plot(f"gains-{place}"),
        "Accuracy of the head that a client would use on its own held-out examples minus that of "
        "its own head: a dot per client and seed, in colour if the test calls it better or worse "
        "off; the middle half as a bar, the median as a stroke. The second stroke is the median of "
        "the global head corrected for each client's own class frequencies.",
    )
    parts += ["<h3>What clients gain</h3>", gained, _matrix(at), _tuned(at)]
    return "\n".join(parts)


def _on_new_data(at: Standings) -> str:
    return "On new data" if at.new_data else "Global heads on all held-out examples"


def _ranking(at: Standings, look: Looks, place: int) -> str:
    """Return the dots with their intervals, then the same as a table."""
    narrow = plots.intervals(at, look, width=_NARROW).plot(f"intervals-narrow-{place}")
    whole = captioned(
        plots.intervals(at, look).plot(f"intervals-{place}"),
        "Accuracy of each global head, mean over seeds, and its 95% interval, over "
        + ("seeds and test examples together." if at.seeds > 1 else "test examples.")
        + (" Hollow: the same without the attack." if at.attacked else ""),
        narrow,
    )
    headers = ["Strategy", "Accuracy", *ranking_headings(at)[1:]]
    headers.insert(-3, "Balanced")
    rows = []
    for row in at.rows:
        cells = ranking_cells(at, row)
        cells.insert(-3, spread_text(row.balanced))
        rows.append([f"{row.strategy}{_STAR if row.behind else ''}", *cells])
    rows.append(["centralised", spread_text(at.centralised), *[""] * (len(headers) - 2)])
    styles = ["best", *[""] * (len(at.rows) - 1), "reference"]
    table = table_of(headers, rows, numbers=range(1, len(headers)), row_classes=styles)
    return f"{whole}\n{table}\n<p>{escaped(_sentences(ranking_captions(at)))}</p>"


def _own_data(at: Standings) -> str:
    """Return what every kind of head gives clients, beside going alone."""
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
    for way, name in REFERENCE_NAMES.items():
        accuracy, worst = at.own.references[way]
        cells = [spread_text(accuracy), percent(worst.mean).removesuffix("%")]
        rows.append([name, *cells, *[""] * (len(headers) - 3)])
        styles.append("reference")
    table = table_of(headers, rows, numbers=range(1, len(headers)), row_classes=styles)
    return f"{table}\n<p>{escaped(_sentences([*own_data_captions(at), _WORST]))}</p>"


def _sentences(lines: Sequence[str]) -> str:
    return " ".join(f"{line[0].upper()}{line[1:]}." for line in lines)


def _tuned(at: Standings) -> str:
    if not at.tuned:
        return ""
    rows = [[name, tuned_text(found)] for name, found in at.tuned.items()]
    return "<h3>What searches chose</h3>\n" + table_of(["Strategy", "Values"], rows)


def _matrix(at: Standings) -> str:
    """Return who is ahead of whom, and whether chance would hardly give that."""
    names = [row.strategy for row in at.rows]
    if len(names) < 2 or at.seeds < 2:
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
            spread = "" if found.interval is None else points_span(*found.interval)
            cells.append(
                f'<td{style} title="{escaped(spread)}; p = {found.p:.3g}">{points(found.mean)}</td>'
            )
        body.append(f'<tr><th scope="row">{escaped(shortened(a, 22))}</th>{"".join(cells)}</tr>')
    told = (
        "Bold: p &lt; .05 over seeds and test examples together, corrected for all pairs (Holm)."
        if at.seeds >= FEWEST_SEEDS
        else f"None is called significant below {FEWEST_SEEDS} seeds."
    )
    return (
        "<h3>Differences</h3>\n<p>Points of accuracy by which the row is ahead of the column, mean "
        f"over seeds. {told}</p>\n"
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
