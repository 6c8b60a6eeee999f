"""The first screen of a page: what federation brings all clients, and the smallest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parsed_page import page_of
from plausible_result import plausible_result

from fedtl.report.answer import smallest, verdict
from fedtl.report.tables import gain_lines
from fedtl.statistics.intervals import Interval
from fedtl.wording import points


def _gain(accuracy: float | None, low: float | None = None, **verdicts: int) -> dict[str, Any]:
    high = None if low is None or accuracy is None else 2 * accuracy - low
    counts = {"better": 0, "no_clear_difference": 0, "worse": 0, **verdicts}
    return {"accuracy": accuracy, "low": low, "high": high, **counts}


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        (
            {"federated": _gain(0.042, 0.011, better=4, no_clear_difference=6)},
            "Compared with local-only, clients gain 4.2 points.",
        ),
        (
            {"federated": _gain(-0.01, -0.05, worse=1), "corrected": _gain(0.03, 0.01, better=1)},
            "Compared with local-only, clients neither clearly gain nor lose (−1.0 point), but "
            "gain 3.0 points if the shared head is read with their own mix of classes.",
        ),
        (
            {"federated": _gain(-0.04, -0.05), "personal": _gain(0.02, 0.01)},
            "Compared with local-only, clients lose 4.0 points, but gain 2.0 points with the "
            "heads of their own.",
        ),
        (
            {"federated": _gain(-0.04, -0.05), "corrected": _gain(-0.03, -0.07)},
            "Compared with local-only, clients lose 4.0 points; if the shared head is read with "
            "their own mix of classes, a loss of 3.0 points is not clear.",
        ),
        (
            {"federated": _gain(0.0), "personal": _gain(0.02, -0.01)},
            "Compared with local-only, clients neither clearly gain nor lose (0.0 points), nor "
            "with the heads of their own (+2.0).",
        ),
        ({"federated": _gain(None)}, "The federated head could not be scored."),
    ],
)
def test_verdict(gains: dict[str, Any], sentence: str) -> None:
    result = plausible_result(clients=2)
    assert verdict(replace(result, summary={**result.summary, "gains": gains})) == sentence


def _answers(markup: str) -> list[str]:
    """Return the texts of the two boxes at the top of the page, tags taken out."""
    (block,) = re.findall(r'<div class="answers">(.*?)<dl', markup, re.DOTALL)
    boxes = block.split('<div class="answer">')[1:]
    return [" ".join(re.sub(r"<[^>]*>", " ", box).split()) for box in boxes]


def test_the_first_screen_tells_the_smallest_client_by_name(tmp_path: Path) -> None:
    result = plausible_result()
    row = min(result.clients, key=lambda row: row.examples)
    assert smallest(result) is row
    everyone, own = _answers(page_of(result, tmp_path)[1])
    assert everyone.startswith("All 10 clients")
    assert "Federated +23.4 +10.1 to +36.7 3 better off," in everyone
    gain = row.gains["federated"]
    low, high = (points(value) for value in gain.interval)
    assert own.startswith(
        f"The smallest: {row.name} {row.examples} training examples; local-only right"
    )
    assert f"Federated {points(gain.difference)} {low} to {high}" in own
    assert gain.verdict is not None and gain.verdict in own and "Corrected" in own

    # An interval on one side of zero beside "no clear difference" needs a word.
    unclear = replace(gain, interval=Interval(0.01, 0.3), verdict="no clear difference")
    rows = [
        replace(one, gains={"federated": unclear}) if one is row else one for one in result.clients
    ]
    _, own = _answers(page_of(replace(result, clients=rows), tmp_path)[1])
    assert "no clear difference by the test, which is stricter than the interval" in own

    # A hostile client is not asked what federation brings it.
    honest = {way: replace(one, verdict=None) for way, one in row.gains.items()}
    rows = [replace(one, gains=honest) if one is row else one for one in result.clients]
    other = smallest(replace(result, clients=rows))
    assert other is not None and other.name != row.name
    hostile = replace(result, clients=rows)
    assert all(line.endswith("; 1 hostile left out") for line in gain_lines(hostile))
    assert not any("hostile" in line for line in gain_lines(result))
