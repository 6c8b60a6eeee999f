"""What one input is like, whatever its kind: how large it is, and some traits in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.rows import Row
from fedtl.data.site_distances import picture_traits
from fedtl.data.sound import Sound
from fedtl.data.understood import counted

_SILENCE = 1e-4


@dataclass(frozen=True, eq=False)
class SeenItem:
    """What was seen of an input.

    Attributes:
        size: For people: ``640×480``, ``12 words``, ``0.43 s`` or ``11 of 13 values``.
        sides: A picture's width and height, in pixels; a text's words and characters; a recording's
            seconds and samples a second; a row's values and cells.
        traits: Numbers that tell inputs of one site from those of another, shape ``(t,)``; of a row
            none, as what they are follows from all rows.
    """

    size: str
    sides: tuple[float, float]
    traits: NDArray[np.float64]


def seen(item: Any) -> SeenItem:
    """Return what a picture, a text, a recording or a row is like."""
    if isinstance(item, Row):
        filled, cells = sum(cell is not None for cell in item.cells.values()), len(item.cells)
        return SeenItem(f"{filled} of {counted(cells, 'value')}", (filled, cells), np.empty(0))
    if isinstance(item, str):
        words = item.split()
        traits = [
            np.log1p(len(item)),
            np.log1p(len(words)),
            len("".join(words)) / max(1, len(words)),
            sum(map(str.isupper, item)) / max(1, len(item)),
            sum(not one.isalnum() and not one.isspace() for one in item) / max(1, len(item)),
        ]
        return SeenItem(counted(len(words), "word"), (len(words), len(item)), np.array(traits))
    if isinstance(item, Sound):
        samples = item.samples.astype(np.float64)
        loudness = np.sqrt(np.square(samples).mean())
        crossings = np.count_nonzero(np.diff(np.signbit(samples))) / item.seconds
        traits = [np.log(item.seconds), np.log(loudness + _SILENCE), np.log1p(crossings)]
        size = f"{item.seconds:.2f} s"
        return SeenItem(size, (item.seconds, item.rate), np.array([*traits, np.log(item.rate)]))
    height, width = item.shape[:2]
    return SeenItem(f"{width}×{height}", (width, height), picture_traits(item))


def told_lengths(unit: str, sides: Sequence[tuple[float, float]]) -> str:
    """Return a sentence on how long texts or recordings are, or how full rows.

    Args:
        unit: What one of them is called.
        sides: Of each that was looked at; see :class:`SeenItem`.
    """
    first, second = (np.array(values) for values in zip(*sides, strict=True))
    what = f"of {counted(len(sides), unit)} looked at: "
    if unit == "row":
        whole = int((first == second).sum())
        return what + f"{_span(first, ',.0f')} of {second[0]:,.0f} values; {whole:,} have no gap"
    if unit == "text":
        return (
            what
            + f"{_span(first, ',.0f')} words, {_span(second, ',.0f')} characters; half of them "
            f"have at most {counted(int(np.median(first)), 'word')}"
        )
    return (
        what + f"{_span(first, '.2f')} seconds, half of them at most {np.median(first):.2f}; "
        f"{_span(second, ',.0f')} samples a second"
    )


def told_features(features: NDArray[np.float64]) -> str:
    """Return a sentence on how many numbers embeddings have, and how large these are.

    Args:
        features: Of those that were looked at, shape ``(n, d)``.
    """
    low, high = features.min(), features.max()
    what = f"of {counted(len(features), 'row')} looked at: {counted(features.shape[1], 'number')}"
    return f"{what} each, from {low:.3g} to {high:.3g}"


def _span(values: NDArray[np.float64], form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
