"""The commands on texts and recordings: describe, simulate, predict, and the page."""

from __future__ import annotations

import csv
import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from in_process import finished
from tiny_encoders import FAMILIES, PICTURES, SOUNDS, WORDS, write_tiny

from fedtl import RunResult, describe, predict, simulate
from fedtl.command_line import absolute_paths
from fedtl.config import RunConfig
from fedtl.data.sound import Sound
from fedtl.exported_folder import export

GOOD, BAD = ["great", "love", "good"], ["terrible", "hate", "bad"]
RUN = ("--engine=inline", "--quiet", "--partition=natural", "--no-cache")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 reviews at three sites, told apart by a word."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["site", "text", "label"])
        for number in range(240):
            words = rng.choice(WORDS.split(), rng.integers(2, 20)).tolist()
            label = number // 3 % 2
            words.insert(1, str(rng.choice(GOOD if label else BAD)))
            text = " ".join(word for word in words if word not in (BAD if label else GOOD))
            writer.writerow([f"site {number % 3}", text, ["bad", "good"][label]])
    return path


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones of two heights at two sites, in noise."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("sounds") / "calls"
    for site in ("east", "west"):
        for label, hertz in (("low", 300), ("high", 900)):
            (root / site / label).mkdir(parents=True)
            for number in range(20):
                time = np.arange(rng.integers(1600, 6400)) / 8000
                wave = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time)
                noisy = wave + rng.normal(0, 0.05, len(time))
                soundfile.write(root / site / label / f"{number:02d}.wav", noisy, 8000)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue squares at two sites."""
    from PIL import Image

    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures") / "squares"
    for site in ("east", "west"):
        for place, label in ((0, "red"), (2, "blue")):
            (root / site / label).mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
                pixels[:, :, place] += 120
                Image.fromarray(pixels).save(root / site / label / f"{number:02d}.png")
    return root


def _summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_federated_run_of_each_family(
    family: str, reviews: Path, calls: Path, pictures: Path, tmp_path: Path
) -> None:
    data = calls if family in SOUNDS else pictures if family in PICTURES else reviews
    folder = write_tiny(family, tmp_path)
    out = tmp_path / "run"
    flags = ("--data", data, "--backbone", f"hf:{folder}", "--strategy=fed3r", "--out", out)
    end = finished(simulate.main, *RUN, *flags)
    assert end.exit_code == 0, end.stderr
    found = _summary(out)
    # A network of random weights still tells much; by chance it would be a half.
    assert found["federated"]["accuracy"] > 0.6
    assert abs(found["federated"]["accuracy"] - found["centralised"]["accuracy"]) < 0.1


@pytest.mark.parametrize(("kind", "backbone"), [("reviews", "wordllama"), ("calls", "log-mel")])
def test_from_a_look_at_the_data_to_predictions(
    kind: str, backbone: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data, out = request.getfixturevalue(kind), tmp_path / "run"
    looked = finished(describe.main, "--data", data)
    assert looked.exit_code == 0, looked.stderr
    unit = {"reviews": "text", "calls": "recording"}[kind]
    assert re.search(rf"of \d+ {unit}s looked at: ", looked.stdout)
    assert ("“" in looked.stdout) == (kind == "reviews")

    flags = ("--data", data, "--backbone", backbone, "--strategy=fed3r", "--samples=3")
    end = finished(simulate.main, *RUN, *flags, "--out", out)
    assert end.exit_code == 0, end.stderr
    assert _summary(out)["federated"]["accuracy"] > 0.9

    page = (out / "report.html").read_text()
    assert f"<h2>Sample {unit}s</h2>" in page
    sites = 3 if kind == "reviews" else 2
    shown = "<q>" if kind == "reviews" else '<svg class="wave"'
    assert page.count(shown) == 2 * sites + 3 * sites

    given = data
    if kind == "reviews":
        given = tmp_path / "new.csv"
        given.write_text("id,review\n7,good great food\n8,bad terrible food\n9,\n")
    said = finished(predict.main, out, given, "--json")
    assert said.exit_code == 0, said.stderr
    told = json.loads(said.stdout)
    if kind == "reviews":
        assert [(one["text"], one["predicted"]) for one in told] == [
            ("new.csv:1", "good"),
            ("new.csv:2", "bad"),
        ]
    else:
        right = [Path(one["recording"]).parent.name == one["predicted"] for one in told]
        assert len(right) == 80
        assert np.mean(right) > 0.9
    model = RunResult.load(out).model()
    item, name = "good great food", "new.csv:1"
    if kind == "calls":
        name = str(data / "east" / "low" / "00.wav")
        item = Sound(soundfile.read(name, dtype="float32")[0], 8000)
    with torch.no_grad():
        (scores,) = model(*model.preprocess(item)).tolist()
    expected = predict(out, given).iloc[:, 1:].loc[name].tolist()
    assert scores == pytest.approx(expected, abs=1e-5)

    # The script that is exported prepares a file as the run did.
    place = Path(name) if kind == "calls" else tmp_path / "new.txt"
    if kind == "reviews":
        place.write_text("good great food")
    for target in ("torch", "torchscript"):
        folder, _ = export(out, target, None, trust=False)
        script = runpy.run_path(str(folder / "load_model.py"))
        (said,) = script["classify"](script["load"](), script["prepared"](str(place)))
        assert said.tolist() == pytest.approx(expected, abs=1e-5)
        if kind == "reviews":
            with pytest.raises(SystemExit, match="is a table, but a file of one text is wanted"):
                script["prepared"](str(given))
            assert "refuses tables of texts" in (folder / "MODEL_CARD.md").read_text()
    scored = finished(predict.main, out, data, "--score", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["accuracy"] > 0.9


def test_hostile_texts_are_text_on_the_page(tmp_path: Path) -> None:
    rows = [[f"<script>alert({at})</script> & \x07 good", str(at % 2)] for at in range(12)]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    flags = ("--data", tmp_path / "t.csv", "--backbone=wordllama", "--strategy=fed3r")
    run = (*RUN[:2], "--no-cache", "--clients=2", "--samples=2", "--out", tmp_path / "run")
    end = finished(simulate.main, *run, *flags)
    assert end.exit_code == 0, end.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "\x07" not in page
    assert "<q>&lt;script&gt;alert(" in page


def test_a_folder_of_a_network_is_written_down_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bert").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, written in (
        ("hf:bert#pool=cls", f"hf:{tmp_path.resolve()}/bert#pool=cls"),
        ("hf:bert", f"hf:{tmp_path.resolve()}/bert"),
        ("hf:google/a-name", "hf:google/a-name"),
    ):
        assert absolute_paths(RunConfig(backbone=given)).backbone == written
