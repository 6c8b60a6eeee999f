"""The charts of a comparison with a line per strategy: by round, against bytes, by a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.comparison.standings import Standing, Standings
from fedtl.report.axes import label_line_ends, percent_axis, round_axis
from fedtl.report.comparison_look import Look, Looks
from fedtl.report.spots import Spot, strips
from fedtl.report.theme import (
    CENTRALISED,
    SURFACE,
    WIDTH,
    Drawing,
    figure_of,
    themed,
)
from fedtl.wording import byte_size, known, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_WIDTH = 22
_LABEL_HEIGHT = 17.0
_MARKS_PER_LINE = 8
# Times as large as the least number: 1, 2, 4, 8 lie evenly then.
_LOGARITHMIC_FROM = 8

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""By round, over seeds: mean and standard deviation of the accuracy, and mean bytes so far."""


def accuracy_by_round(at: Standings, look: Looks, *, width: float = WIDTH) -> Drawing:
    """Draw the mean accuracy of every strategy by round, with a band of one standard deviation.

    A strategy of one round is a mark, continued as a thin line.
    """
    last = max((len(_curve(row)[0]) for row in at.rows), default=1)
    with themed():
        figure = figure_of(width, _height(len(at.rows) + 1))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for row, style, (mean, sd, _) in _curves(at, look):
            colour, dashes, marker = style
            rounds = np.arange(1, len(mean) + 1)
            if len(mean) == 1:
                axes.plot([1, last], [mean[0]] * 2, color=colour, linewidth=1.2, dashes=(1, 2.5))
                mark = marker or "o"
                axes.plot(1, mean[0], mark, color=colour, markersize=8, markeredgecolor=SURFACE)
            else:
                axes.plot(
                    rounds,
                    mean,
                    color=colour,
                    linewidth=style.width,
                    dashes=dashes,
                    marker=marker or None,
                    markevery=max(1, len(mean) // _MARKS_PER_LINE),
                    markersize=6.5,
                    markeredgecolor=SURFACE,
                )
                _band(axes, rounds, mean, sd, style)
            ends.append((mean[-1], _end(row, mean[-1]), colour))
        if known(at.centralised.mean):
            value = at.centralised.mean
            axes.axhline(value, color=CENTRALISED, linewidth=1.4, dashes=(6, 3))
            ends.append((value, f"centralised {percent(value)}", CENTRALISED))
        _accuracy_axis(axes, ends, len(at.rows) + 1)
        round_axis(axes, width)
        axes.set_xlim(1 - 0.02 * last, max(last, 1.5))
        alt = "Accuracy by round: " + ", ".join(text for _, text, _ in ends) + "."
        curves = {row.strategy: _curve(row) for row in at.rows}
        titles = [_round(curves, index) for index in range(last)]
        return Drawing(figure, alt, spots=strips(axes, range(1, last + 1), titles))


def takes_rounds(at: Standings) -> bool:
    """Return whether any strategy takes more than one round, so that there is a curve."""
    return any(len(_curve(row)[0]) > 1 for row in at.rows)


def _round(curves: Mapping[str, Curve], index: int) -> str:
    """Return every strategy's accuracy after one round."""
    told = [
        f"{name} {percent(mean[index])} ± {100 * sd[index]:.1f}"
        for name, (mean, sd, _) in curves.items()
        if index < len(mean)
    ]
    return f"round {index + 1}: {', '.join(told)}"


def accuracy_by_bytes(at: Standings, look: Looks, *, width: float = WIDTH) -> Drawing:
    """Draw the mean accuracy of every strategy against the bytes sent so far."""
    from matplotlib.ticker import LogLocator

    with themed():
        figure = figure_of(width, _height(len(at.rows)))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        marks: list[tuple[float, float, str]] = []
        for row, style, (mean, _, sent) in _curves(at, look):
            colour, dashes, marker = style
            if len(mean) > 1:
                axes.plot(sent, mean, color=colour, linewidth=style.width, dashes=dashes)
            mark = marker or "o"
            size = 9 if marker else 6
            told = f"{row.strategy}: {percent(mean[-1])} after {byte_size(sent[-1])}"
            marks.append((sent[-1], mean[-1], told))
            axes.plot(
                sent[-1], mean[-1], mark, color=colour, markersize=size, markeredgecolor=SURFACE
            )
            ends.append((mean[-1], _end(row, mean[-1]), colour))
        axes.set_xscale("log")
        _accuracy_axis(axes, ends, len(at.rows))
        axes.grid(True, axis="x")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if width >= WIDTH else (1.0,)))
        axes.xaxis.set_major_formatter(lambda value, _: _bytes(value))
        axes.minorticks_off()
        axes.set_xlabel("bytes over the sites' borders, both ways")
        alt = "Accuracy against bytes: " + ", ".join(text for _, text, _ in ends) + "."
        low, high = axes.get_ylim()
        near = 0.025 * (high - low)
        spots = [
            Spot(axes, end / 1.04, value - near, end * 1.04, value + near, text)
            for end, value, text in marks
        ]
        return Drawing(figure, alt, spots=spots)


def accuracy_by_value(
    key: str, points: Sequence[Standings], look: Looks, *, width: float = WIDTH
) -> Drawing:
    """Draw the final accuracy of every global head against a number that varies."""
    values = np.array([float(dict(at.point)[key]) for at in points])
    order = np.argsort(values)
    ranked = [name for name in look if any(_row_of(at, name) for at in points)]
    with themed():
        figure = figure_of(width, _height(len(ranked)))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for strategy in sorted(ranked, key=lambda name: bool(look[name].marker)):
            colour, dashes, marker = style = look[strategy]
            rows = [_row_of(points[place], strategy) for place in order]
            mean = np.array([row.accuracy.mean if row else np.nan for row in rows])
            sd = np.nan_to_num([row.accuracy.sd if row else np.nan for row in rows])
            axes.plot(
                values[order],
                mean,
                color=colour,
                linewidth=style.width,
                dashes=dashes,
                marker=marker or ".",
                markersize=8 if marker else 5,
                markeredgecolor=SURFACE,
            )
            _band(axes, values[order], mean, sd, style)
            if np.isfinite(mean[-1]):
                ends.append((mean[-1], f"{shortened(strategy, _NAME_WIDTH)}", colour))
        if values.min() > 0 and values.max() >= _LOGARITHMIC_FROM * values.min():
            axes.set_xscale("log")
        axes.set_xticks(values[order], [f"{value:g}" for value in values[order]])
        axes.minorticks_off()
        _accuracy_axis(axes, ends, len(ranked))
        axes.set_xlabel(key)
        titles = [f"{key} {values[place]:g}: {_final(points[place])}" for place in order]
        alt = f"Final accuracy of every strategy by {key}."
        return Drawing(figure, alt, spots=strips(axes, values[order].tolist(), titles))


def _final(at: Standings) -> str:
    told = [f"{row.strategy} {percent(row.accuracy.mean)}" for row in at.rows]
    return ", ".join(told)


def _curves(at: Standings, look: Looks) -> Iterator[tuple[Standing, Look, Curve]]:
    """Yield rows that have a curve, grey ones first, so that others are drawn over them."""
    for row in sorted(at.rows, key=lambda row: bool(look[row.strategy].marker)):
        curve = _curve(row)
        if len(curve[0]):
            yield row, look[row.strategy], curve


def _band(
    axes: Axes,
    places: NDArray[np.integer] | NDArray[np.floating],
    mean: NDArray[np.floating],
    sd: NDArray[np.floating],
    style: Look,
) -> None:
    """Draw one standard deviation about a line that is not grey."""
    if style.marker:
        axes.fill_between(places, mean - sd, mean + sd, color=style.colour, alpha=0.12, linewidth=0)


def _accuracy_axis(axes: Axes, ends: list[tuple[float, str, str]], labels: int) -> None:
    """Label the ends of lines in a figure that is high enough for so many, and the accuracies."""
    label_line_ends(axes, ends, height=_height(labels) - 50)
    percent_axis(axes, "y")
    axes.set_ylabel("accuracy")


def _curve(row: Standing) -> Curve:
    runs = [run.rounds for run in row.results.values()]
    length = min(len(rounds) for rounds in runs)
    accuracy = np.array(
        [[np.nan if p.accuracy is None else p.accuracy for p in rounds[:length]] for rounds in runs]
    )
    if np.isnan(accuracy).all():
        return np.empty(0), np.empty(0), np.empty(0)
    sent = np.array([[p.bytes for p in rounds[:length]] for rounds in runs], np.float64)
    sd = accuracy.std(0, ddof=1) if len(runs) > 1 else np.zeros(length)
    return accuracy.mean(0), sd, sent.mean(0)


def _row_of(at: Standings, strategy: str) -> Standing | None:
    return next((row for row in at.rows if row.strategy == strategy), None)


def _end(row: Standing, value: float) -> str:
    return f"{shortened(row.strategy, _NAME_WIDTH)} {percent(value)}"


def _height(labels: int) -> float:
    return max(300.0, 70 + _LABEL_HEIGHT * labels)


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"
