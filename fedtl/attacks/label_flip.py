"""Hostile clients learn false labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.attacks.base import Attack


class LabelFlip(Attack):
    """A hostile client learns class K - 1 - y for y, and sends what it found."""

    def labels(self, labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
        """See :class:`Attack`."""
        return classes - 1 - labels


ATTACK = LabelFlip
