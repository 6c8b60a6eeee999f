"""What a single value of a record may be: a count, a number, a text, or a list of them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

LARGEST_COUNT = 2**53 - 1
"""Larger whole numbers are not exact in the float64 that counts are multiplied in."""

LONGEST_TEXT = 500
"""The most characters that are kept of a text from outside."""

LONGEST_LIST = 1_000_000
"""The most entries of a list of any length: no federation has so many classes."""

_SHOWN = 40


@dataclass(frozen=True)
class Count:
    """A whole number, or a list of ``size`` of them.

    Attributes:
        low: The least.
        high: The most.
        size: Length of the list; ``None`` for a single number, -1 for a list of any length.
    """

    low: int = 0
    high: int = LARGEST_COUNT
    size: int | None = None

    def fault(self, value: object) -> str:
        """Return what is wrong with a value, as a clause; empty if it has this form."""
        return _fault(value, self.size, self._wrong)

    def _wrong(self, value: object) -> str:
        if type(value) is not int:
            return f"is {shown(value)}, which is not a count"
        if not self.low <= value <= self.high:
            return f"is {shown(value)}, which is not a count from {self.low} to {self.high}"
        return ""


@dataclass(frozen=True)
class Real:
    """A finite number, or a list of ``size`` of them.

    Attributes:
        low: The least.
        high: The most.
        unknown: Whether NaN may stand for a number that does not exist.
        size: As for :class:`Count`.
    """

    low: float = -math.inf
    high: float = math.inf
    unknown: bool = False
    size: int | None = None

    def fault(self, value: object) -> str:
        """Return what is wrong with a value, as a clause; empty if it has this form."""
        return _fault(value, self.size, self._wrong)

    def _wrong(self, value: object) -> str:
        if type(value) is float or type(value) is int:
            if self.low < value < self.high:
                return ""  # most are, of one for each example; neither NaN nor infinite can be
            if value != value:
                return "" if self.unknown else "is not finite"
            if math.isinf(value):
                return "is not finite"
            if self.low <= value <= self.high:
                return ""
            return f"is {shown(value)}, which is not from {self.low:g} to {self.high:g}"
        return f"is {shown(value)}, which is not a number"


@dataclass(frozen=True)
class Text:
    """A text of one line, or a list of them.

    Attributes:
        longest: The most characters of each.
        size: As for :class:`Count`.
    """

    longest: int = LONGEST_TEXT
    size: int | None = None

    def fault(self, value: object) -> str:
        """Return what is wrong with a value, as a clause; empty if it has this form."""
        return _fault(value, self.size, self._wrong)

    def _wrong(self, value: object) -> str:
        if not isinstance(value, str):
            return f"is {shown(value)}, which is not a text"
        if len(value) > self.longest:
            return f"has {len(value):,} characters, more than {self.longest}"
        # Names may hold spaces that do not break, and joiners of letters: neither is a control.
        controls = any(unicodedata.category(character) == "Cc" for character in value)
        return "has control characters" if controls else ""


Form = Count | Real | Text


def shown(value: object) -> str:
    """Return a value from outside as it may be shown: short, and in one line."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits, alone or in a list
        return "a huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def one_line(text: object) -> str:
    """Return a text from outside as it may be kept: one line, at most :data:`LONGEST_TEXT` long."""
    cut = str(text)[: 4 * LONGEST_TEXT]
    line = " ".join("".join(c if c.isprintable() else " " for c in cut).split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"


def _fault(value: object, size: int | None, wrong: Callable[[object], str]) -> str:
    if size is None:
        return wrong(value)
    if not isinstance(value, list):
        return f"is {shown(value)}, which is not a list"
    if size >= 0 and len(value) != size:
        return f"has {len(value):,} entries where {size:,} are declared"
    if len(value) > LONGEST_LIST:
        return f"has {len(value):,} entries, more than {LONGEST_LIST:,}"
    fault = next(filter(None, map(wrong, value)), "")
    return fault and f"has an entry that {fault}"
