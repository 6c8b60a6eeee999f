"""The report's section on clients: each one's gain, and how sure it is."""

from __future__ import annotations

from fedtl.report import client_plots
from fedtl.report.page import Section, TextTable
from fedtl.report.tables import by_gain, ends_by_gain, gain_lines
from fedtl.report.ways import ways_of
from fedtl.results.detail import ClientRow, Gain, OwnScore, RunDetail
from fedtl.wording import (
    MARKS,
    MISSING,
    own_data,
    percent,
    points,
    points_span,
    share_of,
    span,
)

_MOST_ROWS = 200


def clients_section(result: RunDetail) -> Section:
    """Return the chart, a list or narrow chart for telephones, and a table."""
    ways = ways_of(result)
    rows, title = _rows(result)
    view = {
        "scored_on": own_data(result.summary),
        "gains": "; ".join(gain_lines(result)),
        "wide": client_plots.client_plot(result),
        "narrow": client_plots.narrow_client_plot(result),
        "clients": by_gain(result.clients, result.used)[::-1],
        "ways": {way: one for way, one in ways.items() if way != "centralised"},
        "title": title,
        "table": _table(result, rows),
    }
    return Section("Clients", "clients", "clients.html", view)


def _rows(result: RunDetail) -> tuple[list[ClientRow], str]:
    """Return the clients that the table shows, and what it is called."""
    if len(result.clients) <= _MOST_ROWS:
        return list(result.clients), "All clients as a table"
    worst, best = ends_by_gain(result.clients, result.used, _MOST_ROWS // 2)
    rows = worst + best
    return rows, (
        f"The {len(worst)} clients that gained least and the {len(best)} that gained most, as a "
        f"table ({len(result.clients) - len(rows):,} more in clients.csv)"
    )


def _table(result: RunDetail, rows: list[ClientRow]) -> TextTable:
    ways = ways_of(result)
    gaining = [way for way in ways if way not in ("local_only", "centralised")]
    headings = ["Client", "Train", "Held out"]
    for way, one in ways.items():
        headings += [one.title, "95 % interval", "Balanced"]
        headings += ["Gain", "95 % interval", "Verdict"] if way in gaining else []
    cells = []
    for row in rows:
        line = [row.name, f"{row.examples:,}", f"{row.held_out:,}"]
        for way in ways:
            line += _score(row.scores.get(way))
            line += _gain(row.gains.get(way)) if way in gaining else []
        cells.append(line)
    return TextTable(
        headings,
        cells,
        [at for at, heading in enumerate(headings) if heading not in ("Client", "Verdict")],
        ["harmed" if row.verdict(result.used) == "worse" else "" for row in rows],
    )


def _score(score: OwnScore | None) -> list[str]:
    if score is None:
        return [MISSING] * 3
    share = share_of(score.correct, score.examples)
    return [share, span(*score.interval), percent(score.balanced_accuracy)]


def _gain(gain: Gain | None) -> list[str]:
    if gain is None:
        return [MISSING] * 3
    verdict = f"{MARKS.get(gain.verdict or '', '')} {gain.verdict or 'hostile'}".strip()
    return [points(gain.difference), points_span(*gain.interval), verdict]
