"""Hostile clients send noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.attacks.base import Stretched


class Noise(Stretched):
    """A hostile client sends w + s r z: w what it was sent, z standard normal.

    r is the root mean square of the change that it found.
    """

    def change(self, change: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """See :class:`Stretched`."""
        size = np.sqrt(np.square(change).mean())
        noise: NDArray[Any] = size * rng.standard_normal(change.shape).astype(change.dtype)
        return noise


ATTACK = Noise
