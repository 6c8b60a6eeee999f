"""The report's section on the holdout-site: a sentence, bars, and a table."""

from __future__ import annotations

from fedtl.report.axes import accuracy_rows, tick_rows, write_beside
from fedtl.report.page import Section, TextTable
from fedtl.report.spots import bands
from fedtl.report.theme import (
    CENTRALISED,
    FEDERATED,
    HARMED,
    INK,
    LOCAL,
    NARROW,
    WIDTH,
    ZERO_SHOT,
    Plot,
    figure_of,
    svg,
    themed,
)
from fedtl.results.detail import RunDetail
from fedtl.results.unseen import UnseenScore, UnseenSite
from fedtl.wording import count_of, percent, points, shortened, span

_NAME_WIDTH, _SHORT_NAME_WIDTH = 22, 11
_MOST_BARS = 24
_MOST_ROWS = 200


def unseen_section(result: RunDetail) -> Section | None:
    """Return the heads' scores at the holdout-site; ``None`` if every site took part."""
    site = result.unseen
    if site is None:
        return None
    sentences = [site.verdict(), site.balanced_verdict(), site.unlearnt_note()]
    left_out = len(site.alone) - _MOST_ROWS
    view = {
        "site": site,
        "verdict": " ".join(filter(None, sentences)),
        "plots": (unseen_plot(site), unseen_plot(site, width=NARROW)),
        "title": "All heads as a table"
        + (f" ({left_out:,} more in clients.csv)" if left_out > 0 else ""),
        "table": _table(site),
    }
    return Section("Unseen site", "unseen", "unseen.html", view)


def unseen_plot(site: UnseenSite, *, width: float = WIDTH) -> Plot:
    """Draw every head's accuracy on the unseen site as a bar, the clients' own by rank."""
    narrow = width < WIDTH
    name_width = _SHORT_NAME_WIDTH if narrow else _NAME_WIDTH
    shown = site.best_first[:_MOST_BARS]
    heads = [("federated", FEDERATED, site.federated)]
    if site.centralised is not None:
        heads.append(("centralised", CENTRALISED, site.centralised))
    if site.zero_shot is not None:
        heads.append(("zero-shot", ZERO_SHOT, site.zero_shot))
    for client in shown:
        name = f"{shortened(site.client_names[client], name_width)} local-only"
        colour = HARMED if client in site.unbeaten else LOCAL
        heads.append((name, colour, site.alone[client]))
    height = 34.0 if len(heads) <= 12 else 24.0
    mark = " ▲" if narrow else " ▲ not beaten"
    with themed():
        figure = figure_of(width, len(heads) * height + 70)
        axes = figure.subplots()
        axes.barh(
            range(len(heads)),
            [score.accuracy for _, _, score in heads],
            0.62,
            color=[colour for _, colour, _ in heads],
        )
        for position, (_, _, score) in enumerate(heads):
            if score.accuracy_low is not None and score.accuracy_high is not None:
                ends = [score.accuracy_low, score.accuracy_high]
                axes.plot(ends, [position] * 2, color=INK, lw=1)
        tick_rows(axes, [score.balanced_accuracy for _, _, score in heads], INK, 0.5 * height)
        axes.axvline(site.federated.accuracy, color=FEDERATED, linewidth=1.2, linestyle="--")
        for position, (_, colour, score) in enumerate(heads):
            write_beside(
                axes,
                percent(score.accuracy) + mark * (colour == HARMED),
                position,
                color=INK if colour == LOCAL else colour,
                fontweight="normal" if colour in (LOCAL, CENTRALISED, ZERO_SHOT) else "bold",
            )
        accuracy_rows(axes, [name for name, _, _ in heads])
        if narrow:
            axes.locator_params(axis="x", nbins=3)
        alt = f"Accuracy on {site.name}: " + "; ".join(
            f"{name} {percent(score.accuracy)}" for name, _, score in heads
        )
        left_out = len(site.alone) - len(shown)
        note = (
            f"{count_of(left_out, 'local-only head')} of lower accuracy left out."
            if left_out
            else ""
        )
        spots = bands(axes, [f"{name}: {score.told}" for name, _, score in heads])
        return Plot(
            svg(figure, "unseen-narrow" if narrow else "unseen", alt + ".", spots=spots), note
        )


def _table(site: UnseenSite) -> TextTable:
    rows = [_row("Federated", site.federated, None)]
    if site.centralised is not None:
        rows.append(_row("Centralised", site.centralised, site.federated))
    if site.zero_shot is not None:
        rows.append(_row("Zero-shot", site.zero_shot, site.federated))
    for client in site.best_first[:_MOST_ROWS]:
        rows.append(
            _row(f"{site.client_names[client]} local-only", site.alone[client], site.federated)
        )
    headings = ["Head", "Accuracy", "95 % interval", "Balanced accuracy"]
    headings.append("Federated above it, points")
    return TextTable(headings, rows, range(1, 5))


def _row(name: str, score: UnseenScore, federated: UnseenScore | None) -> list[str]:
    ahead = "" if federated is None else points(federated.accuracy - score.accuracy)
    interval = span(score.accuracy_low, score.accuracy_high)
    return [name, percent(score.accuracy), interval, percent(score.balanced_accuracy), ahead]
