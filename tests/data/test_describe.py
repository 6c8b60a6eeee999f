"""What a run understood of its data: the sentence, the report's first table, and describe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import complaint, finished
from opened_data import encoded
from parsed_page import Page
from PIL import Image

from fedtl import describe, simulate
from fedtl.data.dataset import Dataset
from fedtl.data.left_aside import LeftAside
from fedtl.data.site_distances import picture_traits, site_distances
from fedtl.data.understood import Understood


def _dataset(**more: object) -> Dataset:
    """Return 1,000 rows: 700 of class a, 300 of b; five sites, 40 patients, 200 tested."""
    row = np.arange(1000)
    values: dict[str, object] = {
        "name": "scans",
        "classes": ("a", "b"),
        "labels": (row >= 700).astype(np.int64),
        "inputs": np.zeros((1000, 2), np.float32),
        "test": row % 5 == 0,
        "sites": np.array(["v", "w", "x", "y", "z"])[row % 5],
        "keys": [str(one) for one in row],
        "groups": np.array([f"patient_{one:02d}" for one in row % 40]),
    }
    return Dataset(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "1,000 rows, 2 classes (a 700, b 300), 5 sites, 40 patients, test split of 200"),
        (
            {"sites": None, "groups": None, "test": np.zeros(1000, bool)},
            "1,000 rows, 2 classes (a 700, b 300), no test split",
        ),
        (
            {"groups": np.arange(1000).astype(str), "test_is_held_out": True},
            "1,000 rows, 2 classes (a 700, b 300), 5 sites, 1,000 groups, test part of 200 held "
            "out",
        ),
        (
            {"left_aside": (*[LeftAside(str(n), ".heic") for n in range(12)],
                            LeftAside("x", ".txt"), LeftAside("y", "empty folder"))},
            "1,000 rows, 2 classes (a 700, b 300), 5 sites, 40 patients, test split of 200; 13 "
            "rows left aside: .heic (12), .txt (1)",
        ),
        (
            {"classes": ("0", "1")},
            "1,000 rows, 2 classes (0: 700, 1: 300), 5 sites, 40 patients, test split of 200",
        ),
        (
            {"unseen": np.arange(1000) % 5 == 1, "sites": None, "groups": None},
            "1,000 rows, 2 classes (a 700, b 300), test split of 200, 200 at the holdout-site",
        ),
        (
            {"classes": tuple("abcdefghijklmnop"), "labels": np.arange(1000) % 16, "sites": None,
             "groups": None},
            "1,000 rows, 16 classes (62 to 63 each), test split of 200",
        ),
    ],
)  # fmt: skip
def test_the_sentence(more: dict[str, object], sentence: str) -> None:
    assert Understood.of(_dataset(**more)).sentence == sentence


@pytest.mark.parametrize(
    ("unit", "kind", "left"),
    [
        ("recording", ".txt", "1 file"),
        ("text", ".pdf", "1 file"),
        ("text", "without label", "1 row"),
        ("row", "without label", "1 row"),
    ],
)
def test_what_is_left_aside_is_called_what_it_is(unit: str, kind: str, left: str) -> None:
    told = replace(Understood.of(_dataset(left_aside=(LeftAside("x", kind),))), unit=unit)
    assert told.sentence.endswith(f"; {left} left aside: {kind} (1)")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sites, one of which is twice as bright and has other shares of classes."""
    root = tmp_path_factory.mktemp("data") / "scans"
    random = np.random.default_rng(0)
    counts = {"bern/ill": 30, "bern/well": 10, "york/ill": 10, "york/well": 30}
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            level = 80 if folder.startswith("bern") else 160
            noise = random.normal(level + 20 * (number % 3), 10, (16, 24, 3))
            picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            (root / folder / f"{number:02d}.png").write_bytes(encoded(picture))
    (root / "bern" / "ill" / "broken.png").write_bytes(b"no picture")
    return root


# Left and upper edge of the names of the first and the last of nine pictures, which are 128 high.
_ENDS = ((6, 38), (6 + 2 * 198, 38 + 2 * 218))
_SENTENCE = "81 images, 2 classes (ill 41, well 40), 2 sites, no test split"


def test_describe_tells_sizes_samples_sites_and_distances(sites: Path, tmp_path: Path) -> None:
    end = finished(describe.main, "--data", sites, "--test-fraction", "0")
    assert end.exit_code == 0
    lines = end.stdout.splitlines()
    assert lines[0] == _SENTENCE
    assert "24×16        80" in end.stdout
    assert "cannot be decoded: 1 of 81" in end.stdout
    assert sum(line.split()[-1:] == ["24×16"] for line in lines) == 9
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert "  41   31    10" in end.stdout and rows["york"][-1] != "bern"
    assert "by mix of classes bern and york (0.51)" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_describe_as_json_and_without_names(sites: Path, tmp_path: Path) -> None:
    flags = ["--data", sites, "--test-fraction", "0", "--json"]
    told = json.loads(finished(describe.main, *flags).stdout)
    assert told["sentence"] == _SENTENCE
    assert told["per_site"] == {"bern": {"ill": 31, "well": 10}, "york": {"ill": 10, "well": 30}}
    assert told["sizes"] == [{"width": 24, "height": 16, "pictures": 80}]
    assert len(told["samples"]) == 9
    assert told["distances"]["mix"][0][1] == pytest.approx(31 / 41 - 10 / 40, abs=1e-4)
    hidden = finished(describe.main, *flags, "--pseudonyms").stdout
    assert "bern" not in hidden and "york" not in hidden


def test_describe_saves_pictures_where_asked(sites: Path, tmp_path: Path) -> None:
    file = tmp_path / "nine.png"
    assert finished(describe.main, "--data", sites, "--pictures", file).exit_code == 0
    with Image.open(file) as sheet:
        assert sheet.size == (3 * 198 + 6, 3 * 218 + 6)
        assert len(sheet.getcolors(1 << 24) or []) > 100
        # "ill" and "well" differ in width, and so do their names above the first and last picture.
        ink = [np.asarray(sheet.crop((x, y, x + 192, y + 20)).convert("L")) < 128 for x, y in _ENDS]
        widths = [np.ptp(np.flatnonzero(dark.any(0))) for dark in ink]
    assert 5 < widths[0] < widths[1] < 40
    gone = tmp_path / "gone" / "nine.png"
    said = complaint(describe.main, "--data", sites, "--pictures", gone, exit_code=1)
    assert said.startswith(f"{gone} cannot be written: No such file")


def test_describe_shows_pictures_of_12_bits_on_their_scale(tmp_path: Path) -> None:
    for place, folder in enumerate(("dark", "light")):
        (tmp_path / "d" / folder).mkdir(parents=True)
        for number in range(3):
            grey = np.full((8, 8), 100 + 3800 * place + number, np.uint16)
            Image.fromarray(grey).save(tmp_path / "d" / folder / f"{number}.png")
    end = finished(describe.main, "--data", tmp_path / "d", "--pictures", tmp_path / "sheet.png")
    assert "grey values of more than 8 bits (6 pictures): 0 is black and 4095 white; " in end.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        middle = sheet.getpixel((2 * 198 + 102, 218 + 122))
        assert isinstance(middle, tuple) and 235 < middle[0] < 250


def test_describe_takes_the_keys_of_data_and_no_others(sites: Path) -> None:
    flags = [
        "--partition",
        "natural",
        "--layout",
        "class/-",
        "--min-per-class",
        "2",
    ]
    end = finished(describe.main, "--data", sites, *flags)
    assert end.stdout.startswith("81 images, 2 classes (bern 41, york 40), no test split")
    said = complaint(describe.main, "--data", sites, *flags, "--alpha", "1")
    assert said.startswith("alpha is an option of dirichlet, and the run has partition = natural")
    said = complaint(describe.main, "--data", sites, "--strategy", "fed3r")
    assert said.startswith("There is no --strategy here")
    assert "there is no such folder" in complaint(describe.main, "--data", sites / "nowhere")


def test_describe_of_features_and_of_rendered_data(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(60) % 3, site=np.arange(60) // 20)
    end = finished(describe.main, "--data", f"features:{tmp_path / 'x.npz'}")
    assert end.stdout.startswith("60 rows, 3 classes (0: 20, 1: 20, 2: 20), 3 sites, no test split")
    assert "×" not in end.stdout
    x = x.astype(np.float32)
    told = f"of 60 rows looked at: 4 numbers each, from {x.min():.3g} to {x.max():.3g}"
    assert end.stdout.splitlines()[1] == told
    samples = [line.split()[1] for line in end.stdout.splitlines() if line.endswith("training ")]
    assert samples == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    rendered = finished(describe.main, "--clients", "3", "--hospitals-images", "90")
    assert "3 sites, test split of 1,000" in rendered.stdout.splitlines()[0]


def test_a_run_says_it_first_and_its_report_has_it_as_first_table(
    sites: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    flags = ["--data", sites, "--partition", "natural", "--engine", "inline", "--strategy", "fed3r"]
    end = finished(simulate.main, *flags, "--test-fraction", "0", "--out", out)
    assert end.exit_code == 0
    assert end.stderr.splitlines()[0] == _SENTENCE
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"]["classes"] == {"ill": 41, "well": 40}
    assert summary["data"]["sites"] == 2
    page = Page()
    page.feed((out / "report.html").read_text().partition("</table>")[0])
    text = " ".join(" ".join(page.texts).split())
    assert "What the run understood of the data" in text
    assert "Images 81" in text and "ill 41, well 40" in text and "Left aside nothing" in text


def test_distances_between_sites() -> None:
    random = np.random.default_rng(0)
    site = np.repeat(["a", "b", "c"], 200)
    data = _dataset(
        labels=np.r_[np.arange(400) % 2, np.zeros(200, np.int64)],
        inputs=np.zeros((600, 1), np.float32),
        test=np.zeros(600, bool),
        sites=site,
        keys=[str(row) for row in range(600)],
        groups=None,
    )
    traits = random.normal(size=(600, 5)) + 3.0 * (site == "c")[:, None]
    found = site_distances(data, np.arange(600), traits)
    assert found is not None and found.sites == ("a", "b", "c")
    assert found.mix.tolist() == [[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]]
    assert found.look[0, 1] < 0.15
    assert found.look[0, 2] == pytest.approx(3, abs=0.2)
    assert site_distances(_dataset(sites=None), np.arange(5), traits[:5]) is None
    # A site of which one input was looked at has no spread to compare with.
    few = site_distances(data, np.r_[0:50, 200, 400:450], traits[np.r_[0:50, 200, 400:450]])
    assert few is not None and np.isnan(few.look[0, 1]) and not np.isnan(few.look[0, 2])


def test_traits_of_a_picture() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:, ::2, 0] = 90
    assert picture_traits(picture).tolist() == [45, 0, 0, 45, 0, 0, 15]
    assert np.isfinite(picture_traits(np.zeros((1, 1, 3), np.uint8))).all()
