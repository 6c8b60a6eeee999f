"""Which of its hyper-parameters a strategy would have tuned, and in what range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Where a search looks for a number.

    Attributes:
        low: The least.
        high: The most.
        log: Whether it looks evenly on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = True


Search = Mapping[str, Range]
"""Ranges by configuration key, in kebab case."""
