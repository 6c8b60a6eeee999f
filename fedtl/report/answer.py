"""The answer of a report: what federation brings all clients and the smallest, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtl.report.markup import escaped
from fedtl.report.result import ClientRow, RunResult
from fedtl.report.tables import MARKS
from fedtl.report.ways import Way, ways_of
from fedtl.report.wording import count_of, points, points_span, share_of, shortened

_NAME_WIDTH = 40
_READINGS = {
    "corrected": "if the shared head is read with their own mix of classes",
    "personal": "with the heads of their own",
}


def verdict(result: RunResult) -> str:
    """Return what federation was worth on clients' own data: the words at the top of the page.

    A gain is called one only if its 95 % interval is on one side of zero.
    """
    summary = result.summary
    gains = {way: gain for way, gain in summary["gains"].items() if gain["accuracy"] is not None}
    heads = "The federated head" if summary["global_head"] else "Clients' own heads"
    if not gains:
        return f"{heads} could not be scored."
    first = gains["federated"]
    told = f"Over working alone clients {_gained(first)}"
    other = "personal" if "personal" in gains else "corrected"
    if other in gains:
        if _sign(first) == _sign(gains[other]) == 0:
            second = points(gains[other]["accuracy"])
            return f"{told}, nor {_READINGS[other]} ({second})."
        joined = "and" if _sign(first) == _sign(gains[other]) else "but"
        told += f", {joined} {_gained(gains[other])} {_READINGS[other]}"
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


def smallest(result: RunResult) -> ClientRow | None:
    """Return the scored client with the fewest training examples, hostile ones left aside.

    Returns:
        ``None`` if no client could be scored.
    """
    scored = [row for row in result.clients if any(gain.verdict for gain in row.gains.values())]
    return min(scored, key=lambda row: (row.examples, row.client), default=None)


def answer(result: RunResult) -> str:
    """Return the gains of all clients together and of the smallest, with how sure they are.

    Returns:
        Markup; empty if nothing could be scored.
    """
    ways = ways_of(result)
    gains = result.summary["gains"]
    told = {way: gains[way] for way in ways if way in gains and gains[way]["accuracy"] is not None}
    row = smallest(result)
    if not told or row is None:
        return ""
    everyone = "".join(
        _line(ways[way], way, gain["accuracy"], (gain["low"], gain["high"]), _counts(gain))
        for way, gain in told.items()
    )
    score = row.scores["local_only"]
    own = "".join(
        _line(
            ways[way],
            way,
            row.gains[way].difference,
            row.gains[way].interval,
            f"{MARKS.get(row.verdict(way) or '', '')} {row.verdict(way)}".strip(),
        )
        for way in told
        if way in row.gains
    )
    alone = share_of(score.correct, score.examples)
    name = escaped(shortened(row.name, _NAME_WIDTH))
    return (
        '<div class="answers">'
        f'<div class="answer"><h2>All {count_of(len(result.clients), "client")}</h2>'
        f"<p>Gain over working alone, points; 95 % interval</p>{everyone}</div>"
        f'<div class="answer"><h2>The smallest: {name}</h2>'
        f"<p>{count_of(row.examples, 'training example')}; alone right in {alone}</p>{own}</div>"
        "</div>"
    )


def _counts(gain: Mapping[str, Any]) -> str:
    return (
        f"{gain['better']:,} better off, {gain['worse']:,} worse, "
        f"{gain['no_clear_difference']:,} no clear difference"
    )


def _line(
    way: Way, key: str, gain: float, interval: tuple[float | None, float | None], sure: str
) -> str:
    style = "personal" if way.label == "personal" else key
    span = points_span(*interval)
    return (
        f'<div class="gain {style}"><span class="way-name">{way.title}</span>'
        f'<b class="points">{points(gain)}</b><span class="span">{span}</span>'
        f'<span class="sure">{escaped(sure)}</span></div>'
    )
