"""Hostile clients turn their change round."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.attacks.base import Stretched


class SignFlip(Stretched):
    """With x what it found and w what it was sent, a hostile client sends w - s (x - w)."""

    def change(self, change: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """See :class:`Stretched`."""
        return -change


ATTACK = SignFlip
