"""The charts of a comparison with a row per strategy: accuracies with intervals, and gains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedtl.comparison.spread import Spread
from fedtl.comparison.standings import Standing, Standings
from fedtl.report.axes import keep_shares, percent_axis
from fedtl.report.comparison_look import Look, Looks
from fedtl.report.spots import bands
from fedtl.report.theme import (
    CENTRALISED,
    CORRECTED,
    FEDERATED,
    HARMED,
    LINE,
    MUTED,
    SURFACE,
    WIDTH,
    Drawing,
    figure_of,
    themed,
)
from fedtl.wording import count_of, known, percent, points, points_span, shortened, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_WIDTH, _SHORT_NAME_WIDTH = 22, 14
_MOST_DOTS = 300
_VERDICT_COLOURS = {"better": FEDERATED, "worse": HARMED}


def intervals(
    at: Standings,
    look: Looks,
    *,
    width: float = WIDTH,
    limits: tuple[float, float] | None = None,
) -> Drawing:
    """Draw every global head's accuracy as a dot on its 95 % interval, the best at the top.

    If there is an attack, the accuracy without it is a hollow dot on the same line. A stroke below
    the dot is the same training on pooled data.

    Args:
        at: The standings.
        look: Of every strategy.
        width: Of the picture.
        limits: Further accuracies that the axis must include, so that charts share one axis.
    """
    rows = [row for row in at.rows if known(row.accuracy.mean)][::-1]
    with themed():
        figure = figure_of(width, 76 + 27 * len(rows))
        axes = figure.subplots()
        described: list[str] = []
        for place, row in enumerate(rows):
            if row.interval is not None:
                colour = look[row.strategy].colour
                axes.plot(row.interval, [place] * 2, color=colour, linewidth=2.4, zorder=2)
            if row.clean is not None and known(row.clean.mean):
                _dot(axes, row.clean.mean, place, look[row.strategy], hollow=True)
            _dot(axes, row.accuracy.mean, place, look[row.strategy])
            _pooled(axes, row.pooled, place)
            known_span = "" if row.interval is None else f" ({span(*row.interval)})"
            name = shortened(row.strategy, _NAME_WIDTH)
            described.insert(0, f"{name} {percent(row.accuracy.mean)}{known_span}")
        if known(at.centralised.mean):
            axes.axvline(at.centralised.mean, color=CENTRALISED, linewidth=1.6, dashes=(5, 3))
            axes.annotate(
                f"centralised {percent(at.centralised.mean)}",
                (at.centralised.mean, 1),
                (0, 5),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                color=CENTRALISED,
            )
            described.append(f"centralised {percent(at.centralised.mean)}")
        _name_rows(axes, [row.strategy for row in rows], width)
        percent_axis(axes, "x")
        if limits is not None:
            axes.update_datalim([(end, 0) for end in limits])
        axes.margins(x=0.08)
        keep_shares(axes)
        axes.set_xlabel("accuracy " + ("on new data" if at.new_data else "on held-out rows"))
        alt = "Accuracy with its 95% interval: " + ", ".join(described) + "."
        return Drawing(figure, alt, spots=bands(axes, [_told(at, row) for row in rows]))


def _dot(axes: Axes, value: float, place: int, look: Look, *, hollow: bool = False) -> None:
    face, edge = (SURFACE, look.colour) if hollow else (look.colour, SURFACE)
    axes.plot(
        value,
        place,
        look.marker or "o",
        color=look.colour,
        markersize=7 if hollow else 9,
        markerfacecolor=face,
        markeredgecolor=edge,
        zorder=3 if hollow else 4,
    )


def _pooled(axes: Axes, pooled: Spread, place: int) -> None:
    """Draw the same training on pooled data, with one standard deviation."""
    if not known(pooled.mean):
        return
    below = place - 0.3
    if known(pooled.sd):
        ends = [pooled.mean - pooled.sd, pooled.mean + pooled.sd]
        axes.plot(ends, [below] * 2, color=CENTRALISED, linewidth=1.2, zorder=1)
    axes.plot(
        pooled.mean, below, "|", color=CENTRALISED, markersize=8, markeredgewidth=1.8, zorder=1
    )


def _name_rows(axes: Axes, names: Sequence[str], width: float) -> None:
    longest = _NAME_WIDTH if width >= WIDTH else _SHORT_NAME_WIDTH
    axes.set_yticks(range(len(names)), [shortened(name, longest) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)


def _told(at: Standings, row: Standing) -> str:
    told = f"{row.strategy}: {percent(row.accuracy.mean)}, mean of {count_of(at.seeds, 'seed')}"
    if row.interval is not None:
        told += f"; 95 % interval {span(*row.interval)}"
    if known(row.pooled.mean):
        told += f"; the same training on pooled data {percent(row.pooled.mean)}"
        told += f" ± {100 * row.pooled.sd:.1f}" if known(row.pooled.sd) else ""
    if row.clean is not None and known(row.clean.mean):
        told += f"; without the attack {percent(row.clean.mean)}"
    return told


def gains(at: Standings, *, width: float = WIDTH) -> Drawing:
    """Draw each client's gain over its local-only head, all seeds together, a row per strategy.

    Dots of clients that the test calls better or worse off are in colour. A second stroke is the
    median of the global head read with clients' own frequencies of classes. Hostile clients are
    left out.
    """
    rows = at.own.rows[::-1]
    counted = "honest clients" if at.attacked else "clients"
    with themed():
        figure = figure_of(width, 60 + 30 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1)
        described, left_out = [], False
        titles = [f"{row.strategy}: no client was scored" for row in rows]
        for place, row in enumerate(rows):
            clients = [
                client
                for run in row.results.values()
                for client in run.clients
                if client.verdicts or not at.attacked
            ]
            told = [
                (gain, _VERDICT_COLOURS.get(client.verdicts.get(client.used, ""), MUTED))
                for client in clients
                if (gain := client.gain(client.used)) is not None
            ]
            if not told:
                continue
            found = np.array([gain for gain, _ in told])
            low, first, median, third, high = np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.plot([low, high], [place] * 2, color=LINE, linewidth=3, zorder=1)
            axes.plot([first, third], [place] * 2, color=MUTED, linewidth=7, alpha=0.45, zorder=2)
            if len(found) <= _MOST_DOTS:
                offset = 0.24 * np.cos(2.4 * np.arange(len(found)))
                colours = [colour for _, colour in told]
                axes.scatter(found, place + offset, s=12, c=colours, alpha=0.75, zorder=3)
            left_out |= len(found) > _MOST_DOTS
            _stroke(axes, median, place, MUTED)
            count = Counter(client.verdicts.get(client.used) for client in clients)
            titles[place] = (
                f"{row.strategy}: median {points(median)} points, the middle half from "
                f"{points_span(first, third)}; {count['better']:,} better off, {count['worse']:,} "
                f"worse, of {len(told):,} {counted} over all seeds"
            )
            described.append(f"{row.strategy} median {100 * median:+.1f} points")
            corrected = [gain for one in clients if (gain := one.gain("corrected")) is not None]
            if corrected:
                _stroke(axes, float(np.median(corrected)), place, CORRECTED)
                described.append(f"corrected {100 * np.median(corrected):+.1f}")
        _name_rows(axes, [row.strategy for row in rows], width)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.3g}" if value else "0")
        axes.set_xlabel("points over the client's local-only head")
        note = "If there are many clients, their dots are left out." if left_out else ""
        return Drawing(
            figure, "Gain over local-only: " + "; ".join(described) + ".", note, bands(axes, titles)
        )


def _stroke(axes: Axes, value: float, place: int, colour: str) -> None:
    axes.plot(value, place, "|", color=colour, markersize=20, markeredgewidth=2.5, zorder=4)
