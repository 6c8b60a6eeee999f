"""How scores, sizes, durations and names are written, the same in terminal and page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MISSING = "\N{EN DASH}"
MARKS = {"better": "▲", "worse": "▼"}
"""How verdicts are marked."""

# Below this a percentage says more than is known.
_FEWEST_FOR_PERCENT = 100


def known(score: float | None) -> bool:
    """Return whether a score exists: neither ``None`` nor NaN."""
    return score is not None and not math.isnan(score)


def percent(score: float | None) -> str:
    """Return a fraction as a percentage with one decimal, ``"87.4%"``."""
    if score is None or math.isnan(score):
        return MISSING
    return f"{100 * score:.1f}%"


def points(difference: float | None) -> str:
    """Return a difference of fractions as signed percentage points, ``"+23.4"``."""
    if difference is None or math.isnan(difference):
        return MISSING
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def span(low: float | None, high: float | None) -> str:
    """Return an interval of fractions as percentages, ``"84.1 to 90.2"``; empty where unknown."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def points_span(low: float | None, high: float | None) -> str:
    """Return an interval of differences as signed points, ``"−1.2 to +9.4"``."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{points(low)} to {points(high)}"


def share_of(correct: int, examples: int) -> str:
    """Return how many are right: a percentage, or counts below 100 examples."""
    if examples < _FEWEST_FOR_PERCENT:
        return f"{correct} of {examples}"
    return percent(correct / examples)


def byte_size(count: float) -> str:
    """Return a number of bytes with a decimal unit (1 kB = 1000 B), ``"12.3 MB"``."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def duration(seconds: float | None) -> str:
    """Return a time in seconds as ``"850 ms"``, ``"18.2 s"`` or ``"3 min 5 s"``."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.00995 else f"{1000 * seconds:.1f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun, ``"1 client"``, ``"10,000 clients"``, ``"2 classes"``."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def sentence(line: str) -> str:
    """Return a line as a sentence: its first letter large, a full stop at its end."""
    return f"{line[:1].upper()}{line[1:]}".removesuffix(".") + "."


def printable(text: object) -> str:
    """Return text on one line without control characters, which file names may hold."""
    words = " ".join(str(text).split())
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words
    )


def shortened(name: object, width: int) -> str:
    """Return a name in at most ``width`` characters; both ends distinguish names, so both stay."""
    text = printable(name)
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def own_data(summary: Mapping[str, Any]) -> str:
    """Return which of each client's own examples a run scored, to follow "on"."""
    if summary.get("own_data_rows") == "all":
        return "each client's own data, every example scored by heads trained without it"
    return "each client's held-out rows"
