"""A picture of more than 256 grey values, before it is known what is black and what white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.grey_scale import Extent, GreyScale

# Rows that are turned into RGB at a time, so that a large picture is held once, not five times.
STRIP_PIXELS = 2**22


@dataclass(frozen=True, eq=False)
class DeepGrey:
    """A picture of more than 256 grey values.

    Attributes:
        values: Shape ``(height, width)``, whole numbers or fractions.
        whole: Whether they are whole numbers.
        inverted: Whether the largest value is black.
        extent: Smallest and largest value that counts for the data set; ``None`` if the file
            says itself what is black and white.
        shown: The picture as the file says it is to be shown, 8 bits; ``None`` if it does not say.
    """

    values: NDArray[Any]
    whole: bool
    inverted: bool
    extent: Extent | None
    shown: NDArray[np.uint8] | None = None

    def rgb(self, scale: GreyScale) -> NDArray[np.uint8]:
        """Return the picture in 8 bits, shape ``(height, width, 3)``."""
        if self.shown is None or scale.asked:
            return self._on(scale)
        return self._grey(self.shown)

    def _on(self, scale: GreyScale) -> NDArray[np.uint8]:
        """Return the picture on a scale, in strips: its arithmetic takes many bytes a pixel."""
        height, width = self.values.shape
        rows = max(1, STRIP_PIXELS // max(1, width))
        strips = (self.values[top : top + rows] for top in range(0, height, rows))
        return np.concatenate(
            [self._grey(scale.levels(strip, whole=self.whole)) for strip in strips]
        )

    def _grey(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.repeat((255 - levels if self.inverted else levels)[:, :, None], 3, axis=2)
