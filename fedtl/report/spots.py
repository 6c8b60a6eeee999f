"""Parts of a picture that show a text under the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fedtl.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More would be a hair's breadth each, and make the page heavy.
_MOST_STRIPS = 250
_MOST_CELLS = 1_500


@dataclass(frozen=True)
class Spot:
    """A rectangle that is visible only under the pointer.

    Attributes:
        axes: Where it lies.
        left, bottom, right, top: Its edges in data coordinates; beyond the axes it is cut.
        title: What it says.
    """

    axes: Axes
    left: float
    bottom: float
    right: float
    top: float
    title: str

    def rectangle(self) -> Markup:
        """Return it as an SVG element; its figure has been written before, and so laid out."""
        (west, east), (south, north) = map(sorted, (self.axes.get_xlim(), self.axes.get_ylim()))
        x = np.clip(np.array([self.left, self.right]), west, east)
        y = np.clip(np.array([self.bottom, self.top]), south, north)
        (left, one), (right, other) = self.axes.transData.transform(np.column_stack([x, y]))
        left, right = sorted((left, right))
        bottom, top = sorted((one, other))
        height = self.axes.figure.bbox.height
        opening = '<rect class="spot" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
        place = Markup(opening).format(left, height - top, right - left, top - bottom)
        return place + title_of(self.title) + Markup("</rect>")


def title_of(text: str) -> Markup:
    """Return the element that a browser shows as a tooltip."""
    return Markup("<title>{}</title>").format(printable(text))


def strips(axes: Axes, places: Sequence[float], titles: Sequence[str]) -> list[Spot]:
    """Return a strip from bottom to top around each place of the x axis.

    If there are very many, only every n-th place has one, which also covers its neighbours.

    Args:
        axes: Where they lie.
        places: Ascending.
        titles: One per place.
    """
    step = -(-len(places) // _MOST_STRIPS)
    shown, told = list(places)[::step], list(titles)[::step]
    middles = [(a + b) / 2 for a, b in pairwise(shown)]
    edges = zip([-inf, *middles], [*middles, inf], told, strict=True)
    return [Spot(axes, left, -inf, right, inf, title) for left, right, title in edges]


def bands(axes: Axes, titles: Sequence[str]) -> list[Spot]:
    """Return a band from left to right around each of the places 0, 1, 2, … of the y axis."""
    return [
        Spot(axes, -inf, place - 0.5, inf, place + 0.5, title) for place, title in enumerate(titles)
    ]


def cells(
    axes: Axes,
    counts: NDArray[np.int64],
    titles: Callable[[int, int], str],
) -> list[Spot]:
    """Return a spot for each cell of a heat map that is not empty, the largest if there are many.

    Args:
        axes: Where they lie, cell (i, j) around y = i and x = j.
        counts: Shape ``(R, C)``.
        titles: The text of cell (i, j).
    """
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_CELLS]
    found = [divmod(int(at), counts.shape[1]) for at in order if counts.flat[at]]
    return [
        Spot(axes, column - 0.5, row - 0.5, column + 0.5, row + 0.5, titles(row, column))
        for row, column in found
    ]
