"""Which examples a head got right, for comparing two heads on the same examples.

Only a simulation, which holds the examples, knows this; none of it leaves a site.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import UsageError
from fedtl.statistics.two_way import TwoWay


@dataclass(frozen=True)
class Marks:
    """Which of n examples are right, a bit each, small enough for a run's file.

    Attributes:
        count: n.
        bits: Whether each is right, packed, in base64.
        numbers: The unit of each, in base64: its group or, without groups, its own number in the
            data. Differences of one to the next, int64, compressed.
    """

    count: int
    bits: str
    numbers: str

    @classmethod
    def of(cls, right: NDArray[np.bool_], units: NDArray[np.int64]) -> Marks:
        """Return the marks of n examples; both arguments have shape ``(n,)``."""
        steps = np.diff(units, prepend=0).astype("<i8")
        return cls(
            count=len(right),
            bits=base64.b64encode(np.packbits(right).tobytes()).decode(),
            numbers=base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode(),
        )

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each example is right, shape ``(n,)``."""
        packed = np.frombuffer(base64.b64decode(self.bits), np.uint8)
        return np.unpackbits(packed, count=self.count).astype(np.bool_)

    @property
    def units(self) -> NDArray[np.int64]:
        """The unit of each example, shape ``(n,)``."""
        steps = np.frombuffer(zlib.decompress(base64.b64decode(self.numbers)), "<i8")
        return np.cumsum(steps).astype(np.int64)


def accuracy_of(marks: Mapping[int, Marks]) -> TwoWay | None:
    """Return the accuracy over seeds and examples; ``None`` if nothing was scored.

    Args:
        marks: By seed.
    """
    scored = [(one.right.astype(np.float64), one.units) for one in marks.values() if one.count]
    return _two_way(scored)


def difference_of(first: Mapping[int, Marks], second: Mapping[int, Marks]) -> TwoWay | None:
    """Return the lead of the first, over the seeds that both have; ``None`` without any.

    Raises:
        UsageError: They were not scored on the same examples.
    """
    ahead = []
    for seed in sorted(first.keys() & second.keys()):
        ours, other = first[seed], second[seed]
        _check_same(ours, other)
        if ours.count:
            ahead.append((ours.right.astype(np.float64) - other.right, ours.units))
    return _two_way(ahead)


def values_of(
    marks: Sequence[Sequence[Marks]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return how often k heads are right with S seeds, by unit; ``None`` if nothing was scored.

    Args:
        marks: By head and seed.

    Returns:
        How many of each unit's examples are right, shape ``(k, S, G)``, and how many there are,
        shape ``(S, G)``.

    Raises:
        UsageError: Heads were not scored on the same examples.
    """
    for own in marks[1:]:
        for one, other in zip(marks[0], own, strict=True):
            _check_same(one, other)
    if not all(one.count for one in marks[0]):
        return None
    tables = [_by_unit([(one.right.astype(np.float64), one.units) for one in own]) for own in marks]
    return np.array([values for values, _ in tables]), tables[0][1]


def _check_same(first: Marks, second: Marks) -> None:
    if (first.count, first.numbers) != (second.count, second.numbers):
        raise UsageError(
            "The data has changed since a part of this comparison ran; start a new comparison, "
            "with another --out."
        )


def _two_way(scored: list[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> TwoWay | None:
    return TwoWay.of(*_by_unit(scored)) if scored else None


def _by_unit(
    scored: list[tuple[NDArray[np.float64], NDArray[np.int64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of values and counts of examples, by seed and unit."""
    units = np.unique(np.concatenate([numbers for _, numbers in scored]))
    values, sizes = np.zeros((2, len(scored), len(units)))
    for seed, (one, numbers) in enumerate(scored):
        at = np.searchsorted(units, numbers)
        values[seed] = np.bincount(at, weights=one, minlength=len(units))
        sizes[seed] = np.bincount(at, minlength=len(units))
    return values, sizes
