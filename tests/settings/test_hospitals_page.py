"""What docs/hospitals.md says: its keys, classes and formulas are the code's, its scenario runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.data.hospitals import CELL_TYPES, SiteShift
from fedtl.data.hospitals.sites import draw_case_mix, draw_sites

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "hospitals.md").read_text(encoding="utf-8")


def test_every_key_and_class_is_told() -> None:
    keys = {key for key in RunConfig().to_mapping() if key.startswith("hospitals-")}
    told = set(re.findall(r"`(hospitals-[a-z-]+)`", PAGE))
    sizes = {"hospitals-images", "hospitals-test-images", "hospitals-sites", "hospitals-size"}
    assert told == keys - sizes
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(CELL_TYPES)


def test_the_scenario_is_one() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert from_mapping(tomllib.loads(text), where="the page").option("hospitals-jpeg") == 1


def test_pictures_and_files_are_there() -> None:
    assert (DOCS / "hospitals.png").stat().st_size < 300_000
    for path in re.findall(r"`(fedtl/[\w/.]+)`", PAGE):
        assert (DOCS.parent / path).is_file(), path


def distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of two samples' shares up to any value."""
    # What is held at a limit is there in float32 or in float64.
    one, other = (np.sort(np.round(values.astype(np.float64), 5)) for values in (found, expected))
    shares = [
        np.searchsorted(sample, other, side=side) / len(sample)
        for sample in (one, other)
        for side in ("left", "right")
    ]
    return float(max(np.abs(shares[0] - shares[2]).max(), np.abs(shares[1] - shares[3]).max()))


@pytest.mark.parametrize("strength", [0.0, 1.0, 5.0, 25.0])
def test_sites_are_as_the_formulas_say(strength: float) -> None:
    """Over many sites, against the distributions on the page."""
    count = 4000
    sites = draw_sites(1, count, SiteShift().times(strength))
    mix = draw_case_mix(1, count, strength)
    random = np.random.default_rng(0)
    n, u = random.standard_normal(200_000), random.random(200_000)
    dyes = sites.absorbance.sum(axis=2)[:, 0] / 2.06  # azure: 0.62 + 1.02 + 0.42
    gradient = sites.gradient[:, 0]
    quality = np.rint(100 - strength * (5 + 40 * u)).clip(10)
    for found, expected in (
        (np.log(dyes), (0.18 * strength * n).clip(-1.1, 1.1)),
        (np.log(sites.lamp[:, 0] / 0.95), -np.abs(0.07 * strength * n).clip(max=0.7)),
        (gradient, (0.12 * strength * n).clip(-0.6, 0.6)),
        (sites.blur[:, 0], (0.45 + 0.75 * strength * u).clip(max=3)),
        (sites.noise[:, 0], (0.010 + 0.022 * strength * u).clip(max=0.15)),
        (sites.magnification[:, 0], np.exp(0.07 * strength * n).clip(0.7, 1.4)),
        (sites.jpeg_quality, quality if strength else 0 * u),
        (sites.chroma_halved, u < strength / 2),
    ):
        # The Kolmogorov-Smirnov distance; above 0.035 by chance once in ten thousand times.
        assert distance(found, expected) < 0.035
    share = np.diff(mix.volume, prepend=0)
    assert share.max() / share.min() <= np.exp(min(0.5 * strength, 3.0)) * 1.001
    assert share.max() / share.min() >= np.exp(min(0.5 * strength, 3.0)) * 0.95
