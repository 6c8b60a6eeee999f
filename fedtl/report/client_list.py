"""What each client gains, as a list that a telephone shows without scrolling sideways."""

from __future__ import annotations

from fedtl.report.markup import escaped
from fedtl.report.result import ClientRow, RunResult
from fedtl.report.tables import MARKS, by_gain
from fedtl.report.ways import Way, ways_of
from fedtl.report.wording import MISSING, points, points_span, share_of, shortened

_NAME_WIDTH = 30


def client_list(result: RunResult) -> str:
    """Return an entry per client, highest gain first, and in it a line per way of learning."""
    ways = {way: one for way, one in ways_of(result).items() if way != "centralised"}
    entries = "".join(_entry(row, ways) for row in reversed(by_gain(result.clients, result.used)))
    return f'<ul class="gains narrow">{entries}</ul>'


def _entry(row: ClientRow, ways: dict[str, Way]) -> str:
    lines = "".join(_line(row, key, way) for key, way in ways.items())
    name = escaped(shortened(row.name, _NAME_WIDTH))
    return f"<li><h3>{name}</h3>{lines}</li>"


def _line(row: ClientRow, key: str, way: Way) -> str:
    style = "personal" if way.label == "personal" else key
    score, gain = row.scores.get(key), row.gains.get(key)
    share = MISSING if score is None else share_of(score.correct, score.examples)
    told = ""
    if gain is not None:
        mark = MARKS.get(gain.verdict or "", "")
        worse = " worse" if gain.verdict == "worse" else ""
        told = (
            f'<b class="points{worse}">{points(gain.difference)} {mark}</b>'
            f'<span class="span">{points_span(*gain.interval)}</span>'
        )
    return (
        f'<div class="gain {style}"><span class="way-name">{way.title}</span>'
        f'<span class="share">{share}</span>{told}</div>'
    )
