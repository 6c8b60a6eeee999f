"""Random parts whose size grows with the square of the client's number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.partitions.base import Sized


class Square(Sized):
    """Random parts whose size grows with the square of the client's number."""

    def growth(self, number: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Sized`."""
        return np.square(number)


PARTITION = Square
