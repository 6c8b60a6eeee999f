"""The charts of a comparison: accuracy by round, against bytes and what varies, and gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.comparison.standings import Standing, Standings
from fedtl.report.plots import label_line_ends
from fedtl.report.theme import (
    HARMED,
    LINE,
    MUTED,
    SERIES,
    SURFACE,
    WIDTH,
    Plot,
    figure_of,
    percent_axis,
    svg,
    themed,
)
from fedtl.report.wording import known, percent, shortened

if TYPE_CHECKING:
    pass

_NAME_WIDTH = 22
_DASHES = ((1, 0), (5, 2), (2, 2), (7, 2, 2, 2))
_MOST_DOTS = 300
_LABEL_HEIGHT = 17.0

Look = tuple[str, tuple[int, ...]]


def looks(strategies: Sequence[str]) -> dict[str, Look]:
    """Return a colour and dashes for each strategy, the same in every chart of a comparison."""
    return {
        name: (SERIES[place % len(SERIES)], _DASHES[place // len(SERIES) % len(_DASHES)])
        for place, name in enumerate(strategies)
    }


def accuracy_by_round(at: Standings, look: dict[str, Look], name: str) -> Plot:
    """Draw the mean accuracy of every strategy by round, with a band of one standard deviation.

    A strategy of one round is a mark, continued as a thin line.
    """
    from matplotlib.ticker import MaxNLocator

    last = max(len(_curve(row)[0]) for row in at.rows)
    with themed():
        figure = figure_of(WIDTH, _height(len(at.rows) + 2))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for row in at.rows:
            colour, dashes = look[row.strategy]
            mean, sd, _ = _curve(row)
            if not len(mean):
                continue
            rounds = np.arange(1, len(mean) + 1)
            if len(mean) == 1:
                axes.plot([1, last], [mean[0]] * 2, color=colour, linewidth=1.6, dashes=(1, 2.5))
                axes.plot(1, mean[0], "o", color=colour, markersize=7, markeredgecolor=SURFACE)
            else:
                axes.plot(rounds, mean, color=colour, linewidth=1.9, dashes=dashes)
                axes.fill_between(
                    rounds, mean - sd, mean + sd, color=colour, alpha=0.14, linewidth=0
                )
            ends.append((mean[-1], _end(row, mean[-1]), colour))
        for text, spreads in (("local-only", at.local_only), ("centralised", at.centralised)):
            if known(spreads["accuracy"].mean):
                value = spreads["accuracy"].mean
                axes.axhline(value, color=MUTED, linewidth=1.2, dashes=(6, 3))
                ends.append((value, f"{text} {percent(value)}", MUTED))
        label_line_ends(axes, ends, height=_height(len(at.rows) + 2) - 50)
        percent_axis(axes, "y")
        axes.set_ylabel("accuracy")
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(1 - 0.02 * last, max(last, 1.5))
        alt = "Accuracy by round: " + ", ".join(text for _, text, _ in ends) + "."
        return Plot(svg(figure, name, alt))


def accuracy_by_bytes(at: Standings, look: dict[str, Look], name: str) -> Plot:
    """Draw the mean accuracy of every strategy against the bytes sent until then."""
    from matplotlib.ticker import LogLocator

    with themed():
        figure = figure_of(WIDTH, _height(len(at.rows)))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for row in at.rows:
            colour, dashes = look[row.strategy]
            mean, _, sent = _curve(row)
            if not len(mean):
                continue
            if len(mean) > 1:
                axes.plot(sent, mean, color=colour, linewidth=1.9, dashes=dashes)
            axes.plot(sent[-1], mean[-1], "o", color=colour, markersize=8, markeredgecolor=SURFACE)
            ends.append((mean[-1], _end(row, mean[-1]), colour))
        axes.set_xscale("log")
        label_line_ends(axes, ends, height=_height(len(at.rows)) - 50)
        percent_axis(axes, "y")
        axes.grid(True, axis="x")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: _bytes(value))
        axes.minorticks_off()
        axes.set_ylabel("accuracy")
        axes.set_xlabel("bytes that crossed the sites' borders, both ways")
        alt = "Accuracy against bytes: " + ", ".join(text for _, text, _ in ends) + "."
        return Plot(svg(figure, name, alt))


def gains(at: Standings, name: str) -> Plot:
    """Draw what each client gains over its own head, all seeds together, a row per strategy."""
    rows = at.rows[::-1]
    with themed():
        figure = figure_of(WIDTH, 60 + 30 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1)
        described, left_out = [], False
        for place, row in enumerate(rows):
            found = _gains(row)
            if not len(found):
                continue
            low, first, median, third, high = np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.plot([low, high], [place] * 2, color=LINE, linewidth=3, zorder=1)
            axes.plot([first, third], [place] * 2, color=MUTED, linewidth=7, alpha=0.45, zorder=2)
            if len(found) <= _MOST_DOTS:
                offset = 0.24 * np.cos(2.4 * np.arange(len(found)))
                colours = [HARMED if gain < 0 else SERIES[0] for gain in found]
                axes.scatter(found, place + offset, s=12, c=colours, alpha=0.75, zorder=3)
            left_out |= len(found) > _MOST_DOTS
            axes.plot(median, place, "|", color=MUTED, markersize=20, markeredgewidth=2.5, zorder=4)
            described.append(f"{row.strategy} median {100 * median:+.1f} points")
        axes.set_yticks(range(len(rows)), [shortened(row.strategy, _NAME_WIDTH) for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.3g}")
        axes.set_xlabel("points over the client's own head")
        note = "Where there are many clients, their dots are left out." if left_out else ""
        return Plot(svg(figure, name, "Gain over local-only: " + "; ".join(described) + "."), note)


def accuracy_by_value(
    key: str, points: Sequence[Standings], look: dict[str, Look], name: str
) -> Plot:
    """Draw the final accuracy of every strategy against a number that varies."""
    values = np.array([float(dict(at.point)[key]) for at in points])
    order = np.argsort(values)
    with themed():
        figure = figure_of(WIDTH, _height(len(look)))
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for strategy, (colour, dashes) in look.items():
            spreads = [_row_of(points[place], strategy) for place in order]
            mean = np.array([row.accuracy.mean if row else np.nan for row in spreads])
            sd = np.nan_to_num([row.accuracy.sd if row else np.nan for row in spreads])
            axes.plot(values[order], mean, "o-", color=colour, markersize=5, dashes=dashes)
            axes.fill_between(
                values[order], mean - sd, mean + sd, color=colour, alpha=0.14, linewidth=0
            )
            if np.isfinite(mean[-1]):
                ends.append((mean[-1], f"{shortened(strategy, _NAME_WIDTH)}", colour))
        if values.min() > 0 and values.max() > 20 * values.min():
            axes.set_xscale("log")
        axes.set_xticks(values[order], [f"{value:g}" for value in values[order]])
        axes.minorticks_off()
        label_line_ends(axes, ends, height=_height(len(look)) - 50)
        percent_axis(axes, "y")
        axes.set_ylabel("accuracy")
        axes.set_xlabel(key)
        return Plot(svg(figure, name, f"Final accuracy of every strategy by {key}."))


def _curve(
    row: Standing,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the accuracy over seeds, and mean bytes, by round."""
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


def _gains(row: Standing) -> NDArray[np.float64]:
    found = [client.gain for run in row.results.values() for client in run.clients]
    return np.array([gain for gain in found if gain is not None])


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
