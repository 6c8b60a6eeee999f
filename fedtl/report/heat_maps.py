"""The report's two heat maps: which client holds which classes, and the confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from fedtl.report.spots import bands, cells
from fedtl.report.theme import INK, MUTED, SURFACE, WIDTH, Plot, figure_of, svg, themed
from fedtl.results.detail import RunDetail
from fedtl.wording import count_of, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A raster cannot take a CSS variable. This blue, see-through where shares are low, lies on either
# theme's surface, and white text on its full strength has a contrast of 5:1.
_HEAT = (0.125, 0.44, 0.706)
_WHITE_TEXT_FROM = 0.8

_NAME_WIDTH = 22
_MOST_CLIENT_ROWS = 60
_BANDS = 50
_MOST_CLASSES = 100
_MOST_CLASSES_NAMED = 40
_MOST_CLASSES_COUNTED = 12


def label_map(result: RunDetail) -> Plot:
    """Draw which client holds which classes: a client's shares by class, and its examples.

    Up to 60 clients have a row each; more are ordered by their most frequent class and drawn in 50
    bands of neighbours. Up to 100 classes have a column.
    """
    columns, class_note = _most_frequent(result.label_counts.sum(axis=0))
    counts = result.label_counts[:, columns]
    totals = result.label_counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    clients, classes = counts.shape
    named = clients <= _MOST_CLIENT_ROWS
    if named:
        client_note = ""
    else:
        shares, totals = _bands(shares, totals)
        client_note = (
            f"{clients:,} clients, ordered by their most frequent class, are drawn in {_BANDS} "
            f"bands of about {round(clients / _BANDS):,}; a band shows the mean of its clients."
        )

    row = 26.0 if clients <= 12 else 17.0 if named else 7.0
    width = min(WIDTH, 300.0 + max(110.0 * classes, 220.0))
    with themed():
        figure = figure_of(width, len(shares) * row + _class_names_height(result, columns) + 40)
        heat, bars = cast(
            "tuple[Axes, Axes]",
            figure.subplots(1, 2, sharey=True, width_ratios=[width - 300, 110]),
        )
        texts = counts if named and classes <= _MOST_CLASSES_COUNTED else None
        _heat_map(heat, shares, texts, "share of the client's examples")
        _name_columns(heat, result, columns, (width - 300) / classes)
        if named:
            names = [shortened(name, _NAME_WIDTH) for name in result.client_names]
            heat.set_yticks(range(clients), names)
        else:
            heat.set_yticks([])
            heat.set_ylabel("clients, by most frequent class")
        bars.barh(range(len(totals)), totals, height=0.62 if named else 0.9, color=MUTED)
        bars.set_title("examples" if named else "mean examples", fontsize=11, color=MUTED)
        bars.tick_params(left=False, labelleft=False)
        bars.spines["left"].set_visible(False)
        bars.locator_params(axis="x", nbins=3)
        bars.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        alt = f"Heat map of {count_of(clients, 'client')} by {count_of(classes, 'class')}."
        spots = []
        if named:

            def told(row: int, column: int) -> str:
                whose, of = result.client_names[row], result.classes[columns[column]]
                share = percent(float(shares[row, column]))
                return f"{whose}, {of}: {count_of(int(counts[row, column]), 'example')}, {share}"

            each = zip(result.client_names, totals.tolist(), strict=True)
            spots = cells(heat, counts, told)
            spots += bands(bars, [f"{name}: {count_of(all_, 'example')}" for name, all_ in each])
        return Plot(svg(figure, "labels", alt, spots=spots), f"{client_note} {class_note}".strip())


def _bands(
    shares: NDArray[np.float64], totals: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean shares and mean totals of neighbours by most frequent class."""
    first = shares.argmax(axis=1)
    order = np.lexsort((-shares.max(axis=1), first))
    parts = np.array_split(order, _BANDS)
    return (
        np.stack([shares[part].mean(axis=0) for part in parts]),
        np.array([totals[part].mean() for part in parts]),
    )


def confusion_map(result: RunDetail) -> Plot:
    """Draw the confusion matrix, its colour the share of the true class; 100 classes at most."""
    confusion = cast("NDArray[np.int64]", result.confusion)
    columns, note = _most_frequent(confusion.sum(axis=1))
    counts = confusion[np.ix_(columns, columns)]
    shares = counts / np.maximum(confusion.sum(axis=1)[columns], 1)[:, None]
    classes = len(columns)
    side = float(np.clip(56 * classes, 170, 560))
    with themed():
        figure = figure_of(side + 260, side + _class_names_height(result, columns) + 40)
        axes = figure.subplots()
        texts = counts if classes <= _MOST_CLASSES_COUNTED else None
        _heat_map(axes, shares, texts, "share of the true class")
        axes.set_aspect("equal")
        _name_columns(axes, result, columns, side / classes)
        if classes <= _MOST_CLASSES_NAMED:
            axes.set_yticks(range(classes), [_class_name(result, column) for column in columns])
        else:
            axes.set_yticks([])
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        alt = f"Confusion matrix of {count_of(classes, 'class')}, rows true, columns predicted."

        def told(row: int, column: int) -> str:
            true, taken = result.classes[columns[row]], result.classes[columns[column]]
            right = "recognised" if row == column else f"taken for {taken}"
            of = f"{counts[row, column]:,} of {confusion[columns[row]].sum():,}"
            return f"{true}: {of} {right}, {percent(float(shares[row, column]))}"

        return Plot(svg(figure, "confusion", alt, spots=cells(axes, counts, told)), note)


def _most_frequent(totals: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """Return the classes to draw, in class order, and a note if some are left out."""
    left_out = len(totals) - _MOST_CLASSES
    if left_out <= 0:
        return np.arange(len(totals)), ""
    chosen = np.sort(np.argsort(-totals, kind="stable")[:_MOST_CLASSES])
    return chosen, f"The {_MOST_CLASSES} most frequent classes are drawn, {left_out:,} are not."


def _class_name(result: RunDetail, column: int) -> str:
    return shortened(result.classes[column], _NAME_WIDTH)


def _class_names_height(result: RunDetail, columns: NDArray[np.int64]) -> float:
    """Return the height of the class names below a heat map, in user units."""
    longest = max(len(_class_name(result, column)) for column in columns)
    return 30.0 + 6.0 * longest if len(columns) <= _MOST_CLASSES_NAMED else 40.0


def _name_columns(
    axes: Axes, result: RunDetail, columns: NDArray[np.int64], cell_width: float
) -> None:
    if len(columns) > _MOST_CLASSES_NAMED:
        axes.set_xticks([])
        first, last = _class_name(result, columns[0]), _class_name(result, columns[-1])
        axes.set_xlabel(f"{len(columns):,} classes, from {first} to {last}")
        return
    names = [_class_name(result, column) for column in columns]
    axes.set_xticks(range(len(columns)), names)
    if 7.0 * max(map(len, names)) > cell_width:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def _heat_map(
    axes: Axes, shares: NDArray[np.float64], counts: NDArray[np.int64] | None, meaning: str
) -> None:
    """Draw shares in [0, 1] as cells, with their counts written in or a colour bar beside."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.ticker import MaxNLocator

    colours = LinearSegmentedColormap.from_list("heat", [(*_HEAT, 0.04), (*_HEAT, 1.0)])
    top = max(float(shares.max(initial=0.0)), 1e-9)
    scale = PowerNorm(0.7, vmin=0.0, vmax=top)
    image = axes.imshow(shares, cmap=colours, norm=scale, aspect="auto", interpolation="none")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if counts is None:
        bar = axes.figure.colorbar(
            image, ax=axes, location="top", shrink=0.7, aspect=40, pad=0.02, ticks=MaxNLocator(4)
        )
        bar.set_label(meaning, size=11)
        bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        bar.outline.set_visible(False)
        return
    axes.set_xticks(np.arange(shares.shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(shares.shape[0] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=SURFACE, linewidth=2)
    axes.tick_params(which="minor", length=0)
    for (row, column), count in np.ndenumerate(counts):
        strong = float(scale(shares[row, column])) > _WHITE_TEXT_FROM
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            fontsize=11,
            color="#ffffff" if strong else INK if count else MUTED,
        )
