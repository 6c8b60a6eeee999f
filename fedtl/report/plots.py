"""The report's charts of scores of all clients together: by round, and by way of learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from fedtl.federation.round_row import Round
from fedtl.report.axes import keep_shares, label_line_ends, percent_axis, round_axis
from fedtl.report.spots import bands, strips
from fedtl.report.tables import SCORES
from fedtl.report.theme import (
    LINE,
    SURFACE,
    WIDTH,
    Plot,
    figure_of,
    svg,
    themed,
)
from fedtl.report.ways import ways_of
from fedtl.results.detail import RunDetail
from fedtl.wording import count_of, known, percent

_DASHES = {
    "local_only": (6, 3),
    "zero_shot": (1, 2),
    "corrected": (8, 2, 2, 2),
    "personal": (4, 2),
    "centralised": (2, 2),
}


def accuracy_by_round(result: RunDetail, *, width: float = WIDTH) -> Plot:
    """Draw the global head's accuracy and loss by round, with lines for the other ways' accuracy.

    All are measured on clients' held-out rows. Without a global head all lines are the mean
    client's.
    """
    ways = ways_of(result)
    ours = ways["federated"]
    if result.summary["global_head"]:
        main, measure, name_of_main = "accuracy", "accuracy", ""
    else:
        main = measure = "mean_client_accuracy"
        name_of_main = ", mean client" if width >= WIDTH else ", mean"
    rounds = [row.round for row in result.rounds]
    losses = {name: _series(result, name) for name in ("loss", "train_loss")}
    with_loss = any(np.isfinite(values).any() for values in losses.values())
    with themed():
        figure = figure_of(width, 460 if with_loss else 320)
        upper, lower = (
            figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
            if with_loss
            else (
                figure.subplots(),
                None,
            )
        )
        ends: list[tuple[float, str, str]] = []
        for name, text, thickness in (
            ("worst_client_accuracy", "worst client", 1.2),
            (main, ours.label + name_of_main, 2.6),
        ):
            values = _series(result, name)
            if np.isfinite(values).any():
                upper.plot(rounds, values, color=ours.colour, linewidth=thickness)
                end = float(values[np.isfinite(values)][-1])
                ends.append((end, f"{text} {percent(end)}", ours.colour))
        for way, dashes in _DASHES.items():
            scores = result.summary[way] if way in ways else None
            if scores and known(scores[measure]):
                label, colour, _ = ways[way]
                upper.axhline(scores[measure], color=colour, linewidth=1.8, dashes=dashes)
                ends.append((scores[measure], f"{label} {percent(scores[measure])}", colour))
        label_line_ends(upper, ends, height=260 if with_loss else 270)
        percent_axis(upper, "y")
        upper.set_ylabel("accuracy")
        if lower is not None:
            last: list[tuple[float, str, str]] = []
            for name, style, text in (("loss", "-", "held-out"), ("train_loss", ":", "training")):
                lower.plot(rounds, losses[name], style, color=ours.colour, linewidth=1.8)
                if np.isfinite(losses[name]).any():
                    last.append((losses[name][np.isfinite(losses[name])][-1], text, ours.colour))
            label_line_ends(lower, last, height=110)
            lower.set_ylabel("loss")
            lower.grid(axis="y")
        figure.align_ylabels()
        bottom = lower if lower is not None else upper
        round_axis(bottom, width)
        bottom.set_xlim(rounds[0], rounds[-1])
        alt = "Accuracy by round: " + ", ".join(text for _, text, _ in ends) + "."
        titles = [_round(row, {main: ours.label + name_of_main}) for row in result.rounds]
        spots = [spot for axes in figure.axes for spot in strips(axes, rounds, titles)]
        return Plot(svg(figure, _name(width), alt, spots=spots))


def _round(row: Round, mains: Mapping[str, str]) -> str:
    """Return the text of one round."""
    figures = asdict(row)
    names = {**mains, "worst_client_accuracy": "worst client", "test_accuracy": "on new data"}
    told = [
        f"{text} {percent(figures[name])}" for name, text in names.items() if known(figures[name])
    ]
    losses = {"loss": "held-out loss", "train_loss": "training loss"}
    told += [f"{text} {figures[name]:.3f}" for name, text in losses.items() if known(figures[name])]
    return f"round {row.round}, {count_of(row.clients, 'client')}: {', '.join(told)}"


def score_ladder(result: RunDetail, *, width: float = WIDTH) -> Plot:
    """Draw the four scores of the ways of learning side by side; for runs of a single round."""
    from matplotlib.lines import Line2D

    ways = ways_of(result)
    with themed():
        figure = figure_of(width, (60 if width >= WIDTH else 90) + 52 * len(SCORES))
        axes = figure.subplots()
        titles = []
        for position, score in enumerate(SCORES):
            shown = {
                way: result.summary[way][score]
                for way in ways
                if result.summary[way] and known(result.summary[way][score])
            }
            if shown:
                low, high = min(shown.values()), max(shown.values())
                axes.plot([low, high], [position] * 2, color=LINE, linewidth=6, zorder=1)
            for way, value in shown.items():
                _, colour, marker = ways[way]
                hero = way == "federated"
                axes.plot(
                    value,
                    position,
                    marker,
                    color=colour,
                    markersize=13 if hero else 9,
                    markeredgecolor=SURFACE,
                    markeredgewidth=1.5,
                    zorder=3 if hero else 2,
                )
                if hero or way == "local_only":
                    axes.annotate(
                        percent(value),
                        (value, position),
                        (0, 10 if hero else -18),
                        textcoords="offset points",
                        ha="center",
                        color=colour,
                        fontweight="bold" if hero else "normal",
                    )
            each = [f"{ways[way].label} {percent(value)}" for way, value in shown.items()]
            titles.append(f"{SCORES[score]}: {', '.join(each)}")
        axes.set_yticks(range(len(SCORES)), list(SCORES.values()))
        axes.set_ylim(len(SCORES) - 0.4, -0.6)
        percent_axis(axes, "x")
        if width < WIDTH:
            axes.locator_params(axis="x", nbins=4)
        axes.margins(x=0.08)
        keep_shares(axes)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        handles = [
            Line2D([], [], linestyle="", marker=marker, color=colour, markersize=9, label=label)
            for way, (label, colour, marker) in ways.items()
            if result.summary[way]
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=4 if width >= WIDTH else 2)
        alt = "; ".join(titles) + "."
        return Plot(svg(figure, _name(width), alt, spots=bands(axes, titles)))


def _name(width: float) -> str:
    return "rounds" if width >= WIDTH else "rounds-narrow"


def _series(result: RunDetail, name: str) -> NDArray[np.float64]:
    """Return a metric by round, NaN if a round has none."""
    figures = [getattr(row, name) for row in result.rounds]
    return np.array([np.nan if one is None else one for one in figures], dtype=np.float64)
