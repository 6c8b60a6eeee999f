"""The report's panel: a training picture of each class at each site, which shows shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.report.theme import INK, LINE, MUTED, WIDTH, Plot, figure_of, svg, themed
from fedtl.results.detail import SitePanel
from fedtl.wording import count_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a picture has at most, and all together: camera noise does not compress, and the page is to
# stay small enough to be mailed.
_MOST_SIDE = 128
_MOST_PIXELS = 200_000
# In pixels of a picture, as fractions of its side.
_GAP, _ROUNDING = 0.07, 0.08

_LARGEST_CELL = 120.0
_NAME_WIDTH = 22
_LETTER = 7.5
_HEADING = 28.0


def panel_plot(panel: SitePanel) -> Plot:
    """Return the panel for the page; see :func:`panel_figure`."""
    where = f" at {count_of(len(panel.sites), 'site')}" if any(panel.sites) else ""
    alt = f"Pictures of {count_of(len(panel.classes), 'class')}{where}."
    with themed():
        drawn = svg(panel_figure(panel), "panel", alt)
    notes = []
    if panel.sites_left_out:
        notes.append(f"{count_of(panel.sites_left_out, 'more site')} not shown.")
    if panel.classes_left_out:
        notes.append(f"{panel.classes_left_out:,} rarer classes not shown.")
    return Plot(drawn, " ".join(notes))


def panel_figure(panel: SitePanel) -> Figure:
    """Draw pictures as a grid, a row per site and a column per class; call it within ``themed()``.

    Pictures are cut to squares around their middle; if a site has none of a class, there is an
    empty frame.
    """
    count, columns = len(panel.sites), len(panel.classes)
    named = any(panel.sites)
    names = [shortened(site, _NAME_WIDTH) for site in panel.sites]
    left = _LETTER * max(map(len, names)) + 12 if named else 0.0
    cell = min(_LARGEST_CELL, (WIDTH - 2 - left) / (columns + _GAP * (columns - 1)))
    step = cell * (1 + _GAP)
    right, bottom = left + columns * step - cell * _GAP, _HEADING + count * step - cell * _GAP
    # One unit more on every side, for the lines of empty frames.
    figure = figure_of(right + 2, bottom + 2)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(
        _montage(panel), extent=(left, right, bottom, _HEADING), interpolation="none", aspect="auto"
    )
    axes.set(xlim=(-1, right + 1), ylim=(bottom + 1, -1))
    for column, name in enumerate(panel.classes):
        text = shortened(name, int(cell / _LETTER))
        axes.text(left + column * step + cell / 2, _HEADING - 10, text, ha="center", color=INK)
    for row, name in enumerate(names):
        top = _HEADING + row * step
        axes.text(left - 12, top + cell / 2, name, ha="right", va="center", color=INK)
        for column, picture in enumerate(panel.pictures[row]):
            if picture is None:
                _empty_frame(axes, left + column * step, top, cell)
    return figure


def _empty_frame(axes: Axes, x: float, y: float, side: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = f"round,pad=0,rounding_size={side * _ROUNDING}"
    axes.add_patch(
        FancyBboxPatch((x, y), side, side, boxstyle=style, facecolor="none", edgecolor=LINE)
    )
    axes.text(x + side / 2, y + side / 2, "none", ha="center", va="center", color=MUTED)


def _montage(panel: SitePanel) -> NDArray[np.uint8]:
    """Return all pictures in one, shape ``(h, w, 4)``: RGB, transparent between them."""
    shown = [picture for row in panel.pictures for picture in row if picture is not None]
    finest = max((min(picture.shape[:2]) for picture in shown), default=_MOST_SIDE)
    cells = len(panel.sites) * len(panel.classes)
    side = min(_MOST_SIDE, finest, int((_MOST_PIXELS / cells) ** 0.5))
    step = side + round(_GAP * side)
    height, width = (n * step - (step - side) for n in (len(panel.sites), len(panel.classes)))
    montage = np.zeros((height, width, 4), np.uint8)
    opacity = _rounded(side)
    for row, pictures in enumerate(panel.pictures):
        for column, picture in enumerate(pictures):
            if picture is not None:
                cell = montage[row * step : row * step + side, column * step : column * step + side]
                cell[:, :, :3], cell[:, :, 3] = _square(picture, side), opacity
    return montage


def _rounded(side: int) -> NDArray[np.uint8]:
    """Return the opacity of a square with round corners, shape ``(side, side)``."""
    radius = _ROUNDING * side
    place = np.arange(side) + 0.5
    beyond = np.maximum(radius - np.minimum(place, side - place), 0)
    distance = np.hypot(beyond[:, None], beyond)
    opacity: NDArray[np.float64] = (radius - distance + 0.5).clip(0, 1)
    return np.rint(255 * opacity).astype(np.uint8)


def _square(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the largest square in the middle, shape ``(side, side, 3)``."""
    from PIL import Image

    height, width = picture.shape[:2]
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    square = np.ascontiguousarray(picture[top : top + size, left : left + size])
    if size == side:
        return square
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.LANCZOS))
