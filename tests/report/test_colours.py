"""Colours of charts: told apart by everyone, in both themes, and by their marks besides."""

from __future__ import annotations

import itertools
import re
from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.comparison.plan import Plan
from fedtl.comparison.result import CellResult, RoundPoint
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import standings
from fedtl.config import RunConfig
from fedtl.report.comparison_look import GREY, looks
from fedtl.report.theme import SERIES, Drawing, figure_of, themed

DRAWN = True

Floats = NDArray[np.float64]

# Machado, Oliveira & Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE Transactions on Visualization and Computer Graphics 15, 2009: severity 1.0.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Distance in CIE Lab; 2.3 is just noticeable side by side, and lines of a chart lie apart.
FEWEST = 18.0
# sRGB's primaries under D65 (IEC 61966-2-1).
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
)


def _linear(colour: str) -> Floats:
    share = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _lab(linear: Floats) -> Floats:
    ratio = TO_XYZ @ np.clip(linear, 0, 1) / TO_XYZ.sum(1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _themes() -> dict[str, dict[str, str]]:
    css = resources.files("fedtl.report").joinpath("report.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)", 1)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in (("light", light), ("dark", dark))
    }


def test_lab_by_known_values() -> None:
    """Red of sRGB, as CIE Lab tables have it."""
    assert _lab(_linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)
    assert _lab(_linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_series_are_told_apart_with_any_colour_vision(theme: str, vision: str) -> None:
    colours = _themes()[theme]
    seen = {
        name: _lab(np.asarray(VISIONS[vision]) @ _linear(colours[name]))
        for name in ("surface", *(f"series-{number}" for number in range(len(SERIES))))
    }
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) >= FEWEST, (a, b)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_in_a_series_colour_can_be_read(theme: str) -> None:
    """Contrast of at least 4.5 : 1, as WCAG 2 asks for text."""
    colours = _themes()[theme]
    ground = TO_XYZ[1] @ _linear(colours["surface"])
    for number in range(len(SERIES)):
        light = TO_XYZ[1] @ _linear(colours[f"series-{number}"])
        low, high = sorted((ground, light))
        assert (high + 0.05) / (low + 0.05) >= 4.5, number


def test_every_coloured_strategy_has_its_own_mark_and_dashes() -> None:
    names = ("fedavg", "fedprox", "fed3r", "fedncm", "scaffold", "ditto", "fedcgs", "fednova")
    look = looks([], Plan(RunConfig(), names, 1).strategies)
    for part in ("colour", "dashes", "marker"):
        assert len({getattr(one, part) for one in look.values()}) == 8
    assert GREY not in look.values()


def test_above_eight_the_best_five_and_fedavg_are_in_colour() -> None:
    """Each strategy's one accuracy is its place in the list; FedAvg is the worst."""
    names = (
        "fedavg",
        "fedprox",
        "fednova",
        "feddyn",
        "scaffold",
        "fedncm",
        "fedcgs",
        "fed3r",
        "afl",
    )
    plan = Plan(RunConfig(), names, 1)
    results = {
        cell: CellResult(
            config=cell.config.to_mapping(),
            global_head=True,
            own_data=dict.fromkeys(("federated", "local_only", "centralised"), figures),
            new_data={},
            trained=[],
            rounds=[RoundPoint(1, accuracy, 1)],
            marks=None,
            clients=[],
            failures=0,
            bytes_up=0,
            bytes_down=0,
            seconds=0.0,
            head_sha256="",
        )
        for cell in plan.cells()
        for accuracy in [names.index(cell.strategy) / 10]
        for figures in [
            {
                **dict.fromkeys(
                    ("accuracy", "balanced_accuracy", "worst_client_accuracy"), accuracy
                ),
                "examples": 1.0,
                "groups": 1.0,
            }
        ]
    }
    look = looks(standings(Compared(plan, results, {}, {})), names)
    assert {name for name in names if look[name] != GREY} == {"fedavg", *names[-5:]}


def _drawn() -> Drawing:
    with themed():
        figure = figure_of(200, 100)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "o-", color=SERIES[0], markeredgecolor=SERIES[1])
        axes.fill_between([0, 1], [0, 1], [1, 2], color=SERIES[2], alpha=0.5)
        axes.scatter([0, 1], [1, 0], c=[SERIES[3], SERIES[4]])
        axes.annotate("text", (0, 0), color=SERIES[5])
        return Drawing(figure, "")


def test_a_drawing_for_a_file_has_the_light_colours() -> None:
    light = _themes()["light"]
    files = _drawn().files()
    text = files["svg"].decode()
    for number in range(6):
        assert light[f"series-{number}"] in text, number
    assert "#0a0b" not in text
    assert "opacity: 0.5" in text
    assert files["pdf"].startswith(b"%PDF")
    assert _drawn().files() == files, "the same every time"
