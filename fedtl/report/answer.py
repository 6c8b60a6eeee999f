"""The answer of a report: the gains of all clients and of the smallest, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fedtl.report.ways import Way, ways_of
from fedtl.results.detail import ClientRow, Gain, RunDetail
from fedtl.wording import MARKS, known, percent, points, points_span, share_of, shortened

_NAME_WIDTH = 40
_READINGS = {
    "corrected": "if the shared head is read with their own mix of classes",
    "personal": "with the heads of their own",
}


def verdict(result: RunDetail) -> str:
    """Return the gain from federation on clients' own data: the sentence at the top of the page.

    It calls a difference a gain or loss only if its 95 % interval excludes zero.
    """
    return verdict_of(result.summary)


def verdict_of(summary: Mapping[str, Any]) -> str:
    """Return what :func:`verdict` does, of what ``summary.json`` holds."""
    return f"{_gains_of(summary)}{_named_beside(summary)}"


def _named_beside(summary: Mapping[str, Any]) -> str:
    """Return a sentence if nobody's examples are needed for what the federation gives."""
    named, ours = summary.get("zero_shot"), summary["federated"]
    if not named or not ours or not known(named["accuracy"]) or not known(ours["accuracy"]):
        return ""
    if named["accuracy"] < ours["accuracy"]:
        return ""
    return (
        f" The head of the classes' names alone, which needs nobody's examples, is right in "
        f"{percent(named['accuracy'])}, the federated head in {percent(ours['accuracy'])}."
    )


def _gains_of(summary: Mapping[str, Any]) -> str:
    """Return how clients gain by the federation's heads, a sentence."""
    gains = {way: gain for way, gain in summary["gains"].items() if gain["accuracy"] is not None}
    heads = "The federated head" if summary["global_head"] else "Clients' own heads"
    if not gains:
        return f"{heads} could not be scored."
    first = gains["federated"]
    told = f"Compared with local-only, clients {_gained(first)}"
    other = "personal" if "personal" in gains else "corrected"
    if other in gains:
        if _sign(first) == _sign(gains[other]) == 0:
            return f"{told}, nor {_READINGS[other]} ({points(gains[other]['accuracy'])})."
        second = gains[other]
        if not _sign(second) and _sign(first) * second["accuracy"] > 0:
            noun = "gain" if second["accuracy"] > 0 else "loss"
            size = f"{100 * abs(second['accuracy']):.1f} points"
            return f"{told}; {_READINGS[other]}, a {noun} of {size} is not clear."
        joined = "and" if _sign(first) == _sign(second) else "but"
        told += f", {joined} {_gained(second)} {_READINGS[other]}"
    return f"{told}."


def _sign(gain: Mapping[str, Any]) -> int:
    """Return 1 for a clear gain, -1 for a clear loss, 0 if neither is clear."""
    value, low, high = float(gain["accuracy"]), gain["low"], gain["high"]
    if low is not None and high is not None and low <= 0 <= high:
        return 0
    return int(value > 0) - int(value < 0)


def _gained(gain: Mapping[str, Any]) -> str:
    value = round(100 * gain["accuracy"], 1)
    noun = "point" if abs(value) == 1 else "points"
    sign = _sign(gain)
    if sign == 0:
        return f"neither clearly gain nor lose ({points(gain['accuracy'])} {noun})"
    return f"{'gain' if sign > 0 else 'lose'} {abs(value):.1f} {noun}"


def smallest(result: RunDetail) -> ClientRow | None:
    """Return the scored, honest client with the fewest training examples.

    Returns:
        ``None`` if no client could be scored.
    """
    scored = [row for row in result.clients if any(gain.verdict for gain in row.gains.values())]
    return min(scored, key=lambda row: (row.examples, row.client), default=None)


class GainLine(NamedTuple):
    """The gain of one way of learning, and how sure it is.

    Attributes:
        way: Of learning.
        gain: Over local-only, a fraction.
        span: Its 95 % interval, in points.
        sure: Its verdict, or how many clients have which.
    """

    way: Way
    gain: float
    span: str
    sure: str


@dataclass(frozen=True)
class Answer:
    """The gains from federation.

    Attributes:
        clients: How many there are.
        everyone: Its gains, all clients together.
        name: The smallest client's.
        examples: Its number of training examples.
        alone: How often its local-only head is right.
        own: Its gains.
    """

    clients: int
    everyone: Sequence[GainLine]
    name: str
    examples: int
    alone: str
    own: Sequence[GainLine]


def answer(result: RunDetail) -> Answer | None:
    """Return the gains of all clients together and of the smallest, with how sure they are.

    Returns:
        ``None`` if nothing could be scored.
    """
    ways = ways_of(result)
    gains = result.summary["gains"]
    told = {way: gains[way] for way in ways if way in gains and gains[way]["accuracy"] is not None}
    row = smallest(result)
    if not told or row is None:
        return None
    alone = row.scores["local_only"]
    return Answer(
        clients=len(result.clients),
        everyone=[
            GainLine(
                ways[way], gain["accuracy"], points_span(gain["low"], gain["high"]), _counts(gain)
            )
            for way, gain in told.items()
        ],
        name=shortened(row.name, _NAME_WIDTH),
        examples=row.examples,
        alone=share_of(alone.correct, alone.examples),
        own=[
            GainLine(
                ways[way],
                gain.difference,
                points_span(*gain.interval),
                _verdict(gain),
            )
            for way in told
            if (gain := row.gains.get(way)) is not None
        ],
    )


def _verdict(gain: Gain) -> str:
    low, high = gain.interval
    if gain.verdict == "no clear difference" and not low <= 0 <= high:
        return f"{gain.verdict} by the test, which is stricter than the interval"
    return f"{MARKS.get(gain.verdict or '', '')} {gain.verdict}".strip()


def _counts(gain: Mapping[str, Any]) -> str:
    return (
        f"{gain['better']:,} better off, {gain['worse']:,} worse, "
        f"{gain['no_clear_difference']:,} no clear difference"
    )
