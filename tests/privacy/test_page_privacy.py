"""What a page tells of patients and sites: pictures if asked, names unless pseudonyms are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process import finished
from PIL import Image

from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.errors import UsageError
from fedtl.simulate import main

SITES = ("Saint Mary", "Queen Anne", "Northgate")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three named sites with two classes of eight pictures, one unreadable."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    random = np.random.default_rng(0)
    for site in SITES:
        for name, level in (("ill", 60), ("well", 180)):
            (folder / site / name).mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(level - 40, level + 40, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(
                    folder / site / name / f"case_{number // 2}_{number}.png"
                )
    (folder / SITES[0] / "ill" / "broken.png").write_bytes(b"no picture")
    shutil.copy(folder / SITES[0] / "ill" / "case_0_0.png", folder / SITES[1] / "ill" / "copy.png")
    return folder


def run(folder: Path, *flags: str) -> tuple[Path, str]:
    """Simulate without actors or cache; return the run folder and what the terminal showed."""
    out = folder / "run"
    given = ["--partition", "natural", "--strategy", "fed3r", "--engine", "inline", "--no-cache"]
    done = finished(main, *given, "--out", out, *flags)
    assert done.exit_code == 0, done.stderr
    return out, done.stdout + done.stderr


def pictures(page: str) -> int:
    """Return how many images and panels of images a page holds."""
    return page.count("<img ") + page.count('aria-label="Pictures of')


@pytest.mark.parametrize(
    ("flags", "expected"), [((), 0), (("--samples", "2"), 3 * 2 + 1), (("--samples", "0"), 0)]
)
def test_own_pictures_are_in_the_page_only_if_asked(
    sites: Path, tmp_path: Path, flags: tuple[str, ...], expected: int
) -> None:
    out, _ = run(tmp_path, "--data", str(sites), *flags)
    assert pictures((out / "report.html").read_text()) == expected


def test_pictures_by_source() -> None:
    assert RunConfig().pictures == 9
    assert RunConfig(data="somewhere").pictures == 0
    assert RunConfig(samples="none").pictures == 0
    assert RunConfig(data="somewhere", samples="4").pictures == 4
    assert from_mapping({"samples": 4}, where="a file").pictures == 4
    for wrong in ("some", "-1", "101", "1.5", "³"):
        with pytest.raises(UsageError, match="none, auto or a number from 0 to 100"):
            RunConfig(samples=wrong)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("holdout", ["", "each", SITES[2]])
def test_pseudonyms_stand_for_every_name(sites: Path, tmp_path: Path, holdout: str) -> None:
    flags = ["--data", str(sites), "--pseudonyms", "--samples", "1"]
    out, shown = run(tmp_path, *flags, *(["--holdout-site", holdout] if holdout else []))
    with (out / "pseudonyms.csv").open(newline="") as file:
        told = {row["name"]: row["pseudonym"] for row in csv.DictReader(file)}
    clients = [site for site in sorted(SITES) if site != holdout]
    expected = {site: f"client-{at}" for at, site in enumerate(clients)}
    assert told == expected | ({holdout: "unseen-site"} if holdout in SITES else {})

    said = {"pseudonyms.csv", "unreadable.csv", "duplicates.csv"} | (
        {"config.toml"} if holdout in SITES else set()
    )
    for path in out.rglob("*"):
        if path.is_file() and path.name not in said:
            content = path.read_bytes().decode("utf-8", "replace")
            assert not any(site in content for site in SITES), path.name
    assert not any(site in shown for site in SITES)
    assert "names suggest that images belong together, but" in shown
    assert all(name in shown for name in said) and "do not pass them on" in shown
    names = [
        client["name"] for client in json.loads((out / "partition.json").read_text())["clients"]
    ]
    assert names == list(expected.values())
    page = (out / "report.html").read_text()
    assert all(f">{name}<" in page for name in names)


def test_names_stand_where_no_pseudonyms_are_asked(sites: Path, tmp_path: Path) -> None:
    out, shown = run(tmp_path, "--data", str(sites))
    assert all(site in shown for site in SITES)
    assert "names suggest that images belong together, as the 12 of case_0 do, but" in shown
    assert not (out / "pseudonyms.csv").exists()
