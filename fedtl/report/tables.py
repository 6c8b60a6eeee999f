"""The tables that end a run in the terminal, clients and totals, in 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedtl.report.ways import ways_of
from fedtl.results.detail import ClientRow, RunDetail
from fedtl.wording import (
    MARKS,
    MISSING,
    byte_size,
    count_of,
    duration,
    own_data,
    percent,
    points,
    points_span,
    share_of,
    shortened,
    span,
)

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_WHOLE = 20
_SHOWN_PER_END = 8
_WIDTH = 80
_NAME_WIDTH, _SHORTEST_NAME = 18, 8
_COLUMN_GAP = 2
# A remainder below it is rounding.
_TOLD_SECONDS = 0.05
_INTERVAL = "  95 % interval"

SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mean_client_accuracy": "mean client",
    "worst_client_accuracy": "worst client",
}
"""A summary's scores and what they are called."""


def by_gain(clients: Sequence[ClientRow], way: str) -> list[ClientRow]:
    """Return the rows from the largest loss to the largest gain; rows without a gain come last."""

    def key(row: ClientRow) -> tuple[bool, float, int]:
        gain = row.gain(way)
        return (gain is None, 0.0 if gain is None else gain, row.client)

    return sorted(clients, key=key)


def ends_by_gain(
    clients: Sequence[ClientRow], way: str, per_end: int
) -> tuple[list[ClientRow], list[ClientRow]]:
    """Return the ``per_end`` clients that lost most and the ``per_end`` that gained most. Clients

    without a gain are included only if too few have one.
    """
    ordered = by_gain(clients, way)
    scored = sum(row.gain(way) is not None for row in ordered)
    candidates = ordered[: max(scored, 2 * per_end)]
    return candidates[:per_end], candidates[-per_end:]


def client_table(result: RunDetail) -> Table:
    """Return one row per client: accuracies on its own data, and its gains.

    With more than 20 clients, the eight with the lowest and the eight with the highest gains are
    shown, and the caption says how many are left out.
    """
    from rich.text import Text

    ways = ways_of(result)
    shown = {way: one.title for way, one in ways.items()}
    # Two readings and their gains take the room of the reference, which the totals have.
    gaining = [way for way in ("federated", "corrected", "personal") if way in shown]
    if len(gaining) > 1:
        shown.pop("centralised", None)
    if len(gaining) > 2:
        gaining = ["corrected", "personal"]
        shown.pop("federated")
    headings = ["Train"]
    for way, title in shown.items():
        headings += [title, "Gain"] if way in gaining else [title]
    whole = len(result.clients) <= _SHOWN_WHOLE
    worst, best = (
        (result.clients, []) if whole else ends_by_gain(result.clients, result.used, _SHOWN_PER_END)
    )
    numbers = {row.client: _numbers(row, list(shown), gaining) for row in (*worst, *best)}
    widths = (max(map(len, column)) for column in zip(headings, *numbers.values(), strict=True))
    room = _WIDTH - sum(width + _COLUMN_GAP for width in widths)
    name_width = min(_NAME_WIDTH, max(_SHORTEST_NAME, room))
    table = plain_table("Client", *headings)

    def add(rows: Sequence[ClientRow]) -> None:
        for row in rows:
            name = Text(shortened(row.name, name_width))
            style = "yellow" if row.verdict(result.used) == "worse" else None
            table.add_row(name, *numbers[row.client], style=style)

    captions = [f"on {own_data(result.summary)}; gain in points over its local-only head"]
    if any(row.verdict(way) in ("better", "worse") for row in result.clients for way in gaining):
        captions.append("▲ better, ▼ worse than local-only (exact McNemar tests, Holm, p < .05)")
    if "corrected" in shown:
        captions.append("corrected: the federated head, read with the client's own mix of classes")
    add(worst)
    if not whole:
        table.add_row("⋮", style="dim")
        add(best)
        left_out = len(result.clients) - len(worst) - len(best)
        captions.append(
            f"lowest and highest gains; {count_of(left_out, 'client')} left out, all in clients.csv"
        )
    table.caption = "\n".join(captions)
    return table


def plain_table(*headings: str) -> Table:
    """Return a table with a line below its headings, names on the left and numbers on the right."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _numbers(row: ClientRow, ways: Sequence[str], gaining: Sequence[str]) -> list[str]:
    cells = [f"{row.examples:,}"]
    for way in ways:
        score = row.scores.get(way)
        cells.append(MISSING if score is None else share_of(score.correct, score.examples))
        if way in gaining:
            mark = MARKS.get(row.verdict(way) or "", " ")
            cells.append(f"{points(row.gain(way))} {mark}")
    return cells


def totals_table(result: RunDetail) -> Table:
    """Return the scores of all ways of learning side by side, on own data and on new data.

    The caption holds the facts of the run: gains and verdicts, traffic, time and memory.
    """
    summary = result.summary
    ways = ways_of(result)
    told = [summary[way] for way in ways]
    rows: list[tuple[str, list[str]]] = []
    for score, heading in SCORES.items():
        rows.append((heading, [percent(scores[score] if scores else None) for scores in told]))
        if score == "accuracy":
            intervals = [
                span(scores["accuracy_low"], scores["accuracy_high"]).replace(" to ", "–")
                if scores
                else ""
                for scores in told
            ]
            rows.append((_INTERVAL, intervals))
    figures = [scores.get("metrics") if scores else None for scores in told]
    known = [found["macro_auroc"] if found else None for found in figures]
    if any(value is not None for value in known):
        rows.append(("AUROC", [MISSING if value is None else f"{value:.3f}" for value in known]))
    new = summary["on_new_data"]
    if new is not None:
        told_new = [new.get(way) for way in ways]
        cells = [percent(scores["accuracy"]) if scores else MISSING for scores in told_new]
        rows.append(("on new data", cells))
    rows += _seed_rows(summary.get("over_seeds"), list(ways))
    titles = [one.title for one in ways.values()]
    table = plain_table("All clients", *titles)
    columns = zip(titles, *(cells for _, cells in rows), strict=True)
    taken = sum(max(map(len, column)) + _COLUMN_GAP for column in columns)
    # A caption wraps at the width of its table.
    table.columns[0].min_width = _WIDTH - taken
    for heading, cells in rows:
        table.add_row(heading, *cells, style="dim" if heading.startswith(_INTERVAL) else None)

    seconds = summary["seconds"]
    table.caption = "\n".join(
        [
            *filter(None, [summary.get("note")]),
            f"on {shortened(summary['scored_on'], 70)}",
            *([f"new data: {shortened(new['scored_on'], 70)}"] if new else []),
            *gain_lines(result),
            f"up {byte_size(summary['bytes_up'])}, down {byte_size(summary['bytes_down'])} · "
            f"peak {byte_size(1e6 * summary['peak_rss_mb'])}",
            f"{duration(seconds['total'])}: "
            + ", ".join(f"{name} {duration(value)}" for name, value in time_parts(summary)),
        ]
    )
    return table


def _seed_rows(told: Mapping[str, Any] | None, ways: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the means over seeds and their intervals, on own data and on new data."""
    if told is None:
        return []
    rows = []
    count = len(told["seeds"])
    for name, heading in (("own_data", "own data"), ("new_data", "new data")):
        means = [told[name].get(way, {}) for way in ways]
        if any(means):
            rows.append(
                (f"{heading}, {count} seeds", [percent(mean.get("mean")) for mean in means])
            )
            spans = [span(mean.get("low"), mean.get("high")).replace(" to ", "–") for mean in means]
            rows.append((f"{_INTERVAL} ", spans))
    return rows


def time_parts(summary: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return how a run's time was spent, part by part; the parts add up to the whole.

    After a resume they exceed it: they include all rounds, but the time since the resume only.
    """
    names = {
        "start_up": "start-up",
        "features": "features",
        "handshake": "handshake and checkpoints",
        "rounds": count_of(summary["rounds"], "round"),
        "closing": "closing scores",
        "reference": "pooled reference",
        "seeds": "further seeds",
        "unseen_sites": "unseen sites",
    }
    seconds = summary["seconds"]
    parts = [(name, seconds[part]) for part, name in names.items() if part in seconds]
    # Settings and pictures for the report; a server of real sites knows of nothing besides.
    rest = seconds["total"] - math.fsum(value for _, value in parts)
    return [*parts, ("other", rest)] if rest >= _TOLD_SECONDS else parts


def gain_lines(result: RunDetail) -> list[str]:
    """Return each way's gain for all clients, and for how many clients it is sure."""
    lines = []
    for way, gain in result.summary["gains"].items():
        if way not in (ways := ways_of(result)) or gain["accuracy"] is None:
            continue
        interval = points_span(gain["low"], gain["high"])
        hostile = sum(way in row.gains and not row.gains[way].verdict for row in result.clients)
        lines.append(
            f"{ways[way].label}: {points(gain['accuracy'])} points over local-only"
            + (f" ({interval})" if interval else "")
            + f"; {gain['better']} better, {gain['worse']} worse, "
            f"{gain['no_clear_difference']} no clear difference"
            + (f"; {hostile:,} hostile left out" if hostile else "")
        )
    return lines
