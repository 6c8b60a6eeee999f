"""Random numbers of a batch of pictures, each picture's own whatever the batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator

Float = NDArray[np.float32]

_POOL = 640


class Draws:
    """Per-picture random numbers, handed out column by column in the order they are asked for.

    Every picture has its own generator and all draws of a picture come from it in a fixed order, so
    that the numbers of a picture do not depend on the pictures rendered beside it.

    Args:
        seed: The run's seed.
        streams: Number that names each picture's stream; shape ``(n,)``.
    """

    def __init__(self, seed: int, streams: NDArray[np.int64]) -> None:
        self._generators = [generator(seed, "hospital picture", int(s)) for s in streams]
        self._pool = np.empty((len(streams), _POOL), dtype=np.float32)
        for row, source in zip(self._pool, self._generators, strict=True):
            source.random(out=row, dtype=np.float32)
        self._used = 0

    def uniform(self, low: Float | float, high: Float | float, count: int) -> Float:
        """Return numbers uniform in ``[low, high)``, shape ``(n, count)``.

        ``low`` and ``high`` are scalars or one number per picture, shape ``(n, 1)``.
        """
        columns = self._pool[:, self._used : self._used + count]
        if columns.shape[1] < count:
            raise RuntimeError(f"a picture needs more than {_POOL} uniform draws: enlarge _POOL")
        self._used += count
        return low + (high - low) * columns

    def normal(self, *shape: int) -> Float:
        """Return standard normal numbers, shape ``(n, *shape)``."""
        numbers = np.empty((len(self._generators), *shape), dtype=np.float32)
        for row, source in zip(numbers, self._generators, strict=True):
            source.standard_normal(out=row, dtype=np.float32)
        return numbers
