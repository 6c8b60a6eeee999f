"""Shared axes of the report's charts: rows of bars, rounds, names on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.report.theme import SURFACE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def percent_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Write an axis of fractions in percent, with grid lines."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axis.grid(True)


def round_axis(axes: Axes, width: float) -> None:
    """Write whole numbers of rounds along the x axis of a picture of this width."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(10 if width >= WIDTH else 4, integer=True))


def accuracy_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of accuracies, the first at the top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(left=False)
    percent_axis(axes, "x")


def keep_shares(axes: Axes) -> None:
    """Limit the horizontal axis to possible accuracies, with room for a mark at either end."""
    axes.autoscale_view()
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -0.01), min(high, 1.01))


def tick_rows(
    axes: Axes,
    values: Sequence[float] | NDArray[np.float64],
    colour: str,
    size: float,
) -> None:
    """Draw a tick across each row, with a halo that keeps it visible where it lies on a bar."""
    for drawn, width in ((SURFACE, 6.0), (colour, 2.5)):
        axes.plot(
            values,
            range(len(values)),
            "|",
            color=drawn,
            markersize=size,
            markeredgewidth=width,
            clip_on=False,
        )


def write_beside(
    axes: Axes, text: str, position: float, away: float = 10, rise: float = 0, **style: Any
) -> None:
    """Write a text at the right of the axes, so many points away and above ``position``."""
    axes.annotate(
        text,
        (1, position),
        (away, rise),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        **style,
    )


def label_line_ends(axes: Axes, ends: list[tuple[float, str, str]], height: float) -> None:
    """Write each line's name beside its right end, pushed apart where lines end close together."""
    axes.margins(y=0.08)
    axes.autoscale_view()
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = 17 * (high - low) / height
    ordered = sorted(ends)
    positions: list[float] = []
    for value, _, _ in ordered:
        positions.append(max([value, *(position + gap for position in positions[-1:])]))
    # Where the topmost then stands above the axes, those below it make room.
    ceiling = high
    for place in reversed(range(len(positions))):
        positions[place] = min(positions[place], ceiling)
        ceiling = positions[place] - gap
    for (_, text, colour), position in zip(ordered, positions, strict=True):
        write_beside(axes, text, position, 8, color=colour)
