"""Mean and standard deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes:
        mean: NaN where there is no value.
        sd: With n - 1 in its denominator; NaN below two values.
        count: How many values.
    """

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return it for the values that exist."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        return cls(
            mean=float(np.mean(known)) if known else math.nan,
            sd=float(np.std(known, ddof=1)) if len(known) > 1 else math.nan,
            count=len(known),
        )
