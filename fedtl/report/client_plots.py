"""The report's charts of each client's accuracies and gain, for few clients or many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from fedtl.report.axes import accuracy_rows, percent_axis, tick_rows, write_beside
from fedtl.report.tables import by_gain
from fedtl.report.theme import (
    CENTRALISED,
    HARMED,
    INK,
    MUTED,
    NARROW,
    SURFACE,
    WIDTH,
    Plot,
    figure_of,
    svg,
    themed,
)
from fedtl.report.ways import ways_of
from fedtl.results.detail import ClientRow, RunDetail
from fedtl.wording import (
    MARKS,
    count_of,
    percent,
    points,
    points_span,
    shortened,
    span,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME_WIDTH = 22
_MOST_CLIENT_ROWS = 60
_CURVE_POINTS = 200
_TWO_LINES = 30.0


def client_plot(result: RunDetail) -> Plot:
    """Draw each client's accuracies and gain: bars for up to 60 clients, else distributions."""
    if len(result.clients) <= _MOST_CLIENT_ROWS:
        return _client_bars(result)
    return _client_distributions(result)


def narrow_client_plot(result: RunDetail) -> Plot | None:
    """Draw distributions for a narrow page; ``None`` for up to 60 clients, which are listed."""
    if len(result.clients) <= _MOST_CLIENT_ROWS:
        return None
    return _client_distributions(result, narrow=True)


def _client_bars(result: RunDetail) -> Plot:
    used = result.used
    rows = by_gain(result.clients, used)[::-1]
    positions = np.arange(len(rows))
    ways = {way: one for way, one in ways_of(result).items() if way != "centralised"}
    height = (34.0 if len(rows) <= 12 else 24.0) * len(ways) / 2
    step = 0.8 / len(ways)
    with themed():
        figure = figure_of(WIDTH, len(rows) * height + 80)
        axes = figure.subplots()
        titles: dict[str, str] = {}
        for place, (way, (_, colour, _)) in enumerate(ways.items()):
            offset = (place - (len(ways) - 1) / 2) * step
            bars = axes.barh(positions + offset, _accuracies(rows, way), 0.9 * step, color=colour)
            for place_of_row, (row, bar) in enumerate(zip(rows, bars, strict=True)):
                if way in row.scores:
                    bar.set_gid(f"bar-{place}-{row.client}")
                    titles[f"bar-{place}-{row.client}"] = _title(row, way, ways[way].label)
                if row.verdict(way) == "worse":
                    bar.set(facecolor=HARMED, hatch="////", edgecolor=SURFACE, linewidth=0)
                if way in row.scores:
                    axes.plot(
                        row.scores[way].interval, [place_of_row + offset] * 2, color=INK, lw=1
                    )
        tick_rows(axes, _accuracies(rows, "centralised"), CENTRALISED, 0.62 * height)
        for position, row in enumerate(rows):
            verdict = row.verdict(used)
            gain = row.gains.get(used)
            # Many clients leave no room for it; the mark's title and the table tell it.
            spaced = gain is not None and height >= _TWO_LINES
            write_beside(
                axes,
                f"{points(row.gain(used))} {MARKS.get(verdict or '', '')}",
                position,
                rise=7 if spaced else 0,
                color=HARMED if verdict == "worse" else INK,
                fontweight="bold" if verdict in MARKS else "normal",
            )
            if gain is not None and spaced:
                interval = points_span(*gain.interval)
                write_beside(axes, interval, position, rise=-7, color=MUTED, fontsize=10)
        axes.annotate(
            f"gain, {ways[used].label}",
            (1, 1),
            (10, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            color=MUTED,
            fontsize=11,
            annotation_clip=False,
        )
        accuracy_rows(axes, [shortened(row.name, _NAME_WIDTH) for row in rows])
        _client_legend(figure, result)
        labels = ", ".join(way.label for way in ways.values())
        alt = f"Accuracy of each client, {labels}: " + "; ".join(
            f"{row.name} {', '.join(percent(row.accuracy(way)) for way in ways)}"
            + (f", {row.verdict(used)}" if row.verdict(used) else "")
            for row in rows
        )
        return Plot(svg(figure, "clients", alt + ".", titles))


def _title(row: ClientRow, way: str, label: str) -> str:
    """Return one client's score of one way of learning, and how sure it is."""
    score = row.scores[way]
    low, high = score.interval
    told = f"{row.name}, {label}: {score.correct:,} of {score.examples:,} right"
    told += f" ({percent(score.accuracy)}, 95 % interval {span(low, high)})"
    gain = row.gains.get(way)
    if gain is None:
        return told
    difference = f"{points(gain.difference)} points ({points_span(*gain.interval)})"
    return f"{told}; gain {difference}, {gain.verdict or 'hostile'}"


def _client_legend(figure: Figure, result: RunDetail) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=colour, label=label)
        for way, (label, colour, _) in ways_of(result).items()
        if way != "centralised"
    ]
    if any(gain.verdict == "worse" for row in result.clients for gain in row.gains.values()):
        handles.append(
            Patch(facecolor=HARMED, edgecolor=SURFACE, linewidth=0, hatch="////", label="worse")
        )
    if any("centralised" in row.scores for row in result.clients):
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="|",
                color=CENTRALISED,
                markersize=12,
                markeredgewidth=2.5,
                label="centralised",
            )
        )
    figure.legend(handles=handles, loc="outside upper left", ncols=6)


def _client_distributions(result: RunDetail, *, narrow: bool = False) -> Plot:
    from matplotlib.ticker import MaxNLocator

    rows = result.clients
    gains = _numbers(row.gain(result.used) for row in rows)
    worse = np.array([row.verdict(result.used) == "worse" for row in rows])
    scored = np.isfinite(gains)
    ways = ways_of(result)
    used = ways[result.used]
    with themed():
        figure = figure_of(NARROW, 640) if narrow else figure_of(WIDTH, 340)
        shape = (2, 1) if narrow else (1, 2)
        histogram, curves = cast("tuple[Axes, Axes]", figure.subplots(*shape))
        if scored.any():
            # An edge on zero keeps losses and gains in different bars.
            step = max(float(np.abs(gains[scored]).max()) / 15, 0.005)
            edges = step * np.arange(
                np.floor(gains[scored].min() / step), np.ceil(gains[scored].max() / step) + 2
            )
            histogram.hist(
                [gains[scored & worse], gains[scored & ~worse]],
                bins=list(edges),
                stacked=True,
                color=[HARMED, used.colour],
                label=["worse", "not worse"],
                rwidth=0.9,
            )
            histogram.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        histogram.axvline(0, color=INK, linewidth=1)
        histogram.xaxis.set_major_formatter(lambda value, _: points(value))
        histogram.set_xlabel("gain over local-only, points")
        histogram.set_ylabel("clients")
        histogram.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        histogram.yaxis.set_major_locator(MaxNLocator(integer=True))
        histogram.grid(axis="y")
        quantiles = np.linspace(0, 1, _CURVE_POINTS)
        for way, (label, colour, _) in ways.items():
            values = _accuracies(rows, way)
            values = values[np.isfinite(values)]
            if len(values):
                dashes = "--" if way == "centralised" else "-"
                curves.plot(
                    np.quantile(values, quantiles),
                    quantiles,
                    dashes,
                    color=colour,
                    linewidth=2.2 if way == "federated" else 1.8,
                    label=label,
                )
        percent_axis(curves, "x")
        percent_axis(curves, "y")
        curves.set_xlabel("accuracy")
        curves.set_ylabel("clients at or below")
        if curves.lines:
            curves.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if narrow or len(ways) > 3 else 3
            )
        alt = (
            f"Distribution of the gain of {count_of(len(rows), 'client')}, {result.harmed:,} of "
            "them worse off, and of their accuracies under each way of learning."
        )
        note = f"{len(rows):,} clients are shown as distributions."
        return Plot(svg(figure, "clients-narrow" if narrow else "clients", alt), note)


def _accuracies(rows: Sequence[ClientRow], way: str) -> NDArray[np.float64]:
    return _numbers(row.accuracy(way) for row in rows)


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Return numbers by client, NaN if a client has none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
