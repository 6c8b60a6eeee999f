"""A look at some inputs of a data set: how large pictures are, and what they are like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.columns_seen import ColumnSeen, columns_seen, row_traits
from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import PICTURE, TABLE_ROW, kind_of
from fedtl.data.seen_item import seen, told_features, told_lengths
from fedtl.data.site_distances import SiteDistances, site_distances
from fedtl.errors import UnreadableImageError

_MOST, _FEWEST_PER_SITE, _SAMPLES = 400, 4, 9
_MOST_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen.

    Attributes:
        looked_at: How many inputs.
        sizes: How many pictures are so wide and high, most frequent first; empty for others.
        lengths: How long texts, recordings or embeddings are, or how full rows, in a sentence; else
            empty.
        unreadable: Why pictures could not be decoded, and how many, most frequent first.
        samples: Rows of nine inputs that could be read, evenly spaced over them class by class.
        distances: How far sites lie apart; ``None`` without two sites.
        columns: What the columns of a table's rows hold; empty for others.
    """

    looked_at: int
    sizes: dict[tuple[int, int], int]
    unreadable: dict[str, int]
    samples: list[int]
    distances: SiteDistances | None
    lengths: str = ""
    columns: tuple[ColumnSeen, ...] = ()


def look_at(dataset: Dataset, on_progress: Callable[[int, int], None] | None = None) -> Look:
    """Return what some inputs are like: evenly spaced, of every site alike.

    Args:
        dataset: The data; at most 400 of its inputs are decoded, or four of each of more than
            100 sites.
        on_progress: Called with how many have been looked at, and of how many.
    """
    rows = _chosen(dataset, _MOST_ROWS if isinstance(dataset.inputs, np.ndarray) else _MOST)
    if isinstance(dataset.inputs, np.ndarray):
        features = dataset.inputs[rows].astype(np.float64)
        distances = site_distances(dataset, rows, features)
        samples = _samples(dataset, rows)
        return Look(len(rows), {}, {}, samples, distances, told_features(features))
    sizes: Counter[tuple[int, int]] = Counter()
    sides: list[tuple[float, float]] = []
    pictures = kind_of(dataset.inputs) == PICTURE
    unreadable: Counter[str] = Counter()
    read, traits, items = [], [], []
    of_table = kind_of(dataset.inputs) == TABLE_ROW
    for done, row in enumerate(rows.tolist(), start=1):
        try:
            item = dataset.inputs.load(row)
            found = seen(item)
        except UnreadableImageError as error:
            unreadable[str(error)] += 1
        else:
            sides.append(found.sides)
            traits.append(found.traits)
            read.append(row)
            if of_table:
                items.append(item)
            if pictures:
                sizes[int(found.sides[0]), int(found.sides[1])] += 1
        if on_progress is not None:
            on_progress(done, len(rows))
    there = np.array(read, np.int64)
    told = row_traits(items) if items else np.array(traits)
    distances = site_distances(dataset, there, told) if read else None
    return Look(
        len(rows),
        dict(sizes.most_common()),
        dict(unreadable.most_common()),
        _samples(dataset, there),
        distances,
        told_lengths(dataset.unit, sides) if sides and not pictures else "",
        tuple(columns_seen(dataset)) if of_table else (),
    )


def _chosen(dataset: Dataset, most: int) -> NDArray[np.int64]:
    """Return evenly spaced rows, about as many of every site, rising."""
    everything = np.arange(len(dataset), dtype=np.int64)
    if dataset.sites is None:
        return _spaced(everything, most)
    names, site = np.unique(dataset.sites, return_inverse=True)
    each = max(_FEWEST_PER_SITE, most // len(names))
    parts = [_spaced(everything[site == number], each) for number in range(len(names))]
    return np.sort(np.concatenate(parts))


def _samples(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    by_class = rows[np.argsort(dataset.labels[rows], kind="stable")]
    return list(map(int, _spaced(by_class, _SAMPLES)))


def _spaced(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
