"""Random parts whose size grows as the client's number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.partitions.base import Sized


class Linear(Sized):
    """Random parts whose size grows as the client's number."""

    def growth(self, number: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Sized`."""
        return np.positive(number)


PARTITION = Linear
