"""Predictions against the run's own score and against arithmetic written out, and bad input."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import Finished, complaint, finished
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

import fedtl.weights
from fedtl import predict, simulate
from fedtl.config_file import from_toml
from fedtl.preparation.opened_data import open_data
from fedtl.report.predictions import Predictions
from fedtl.transfer.backbones import load_backbone
from fedtl.transfer.extraction import extract_features
from fedtl.transfer.head_file import read_head


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a few rendered pictures."""
    folder = tmp_path_factory.mktemp("image-run")
    flags = {
        "engine": "inline",
        "hospitals-images": 200,
        "hospitals-test-images": 40,
        "clients": 2,
        "rounds": 2,
        "cache": folder / "cache",
        "out": folder / "run",
    }
    _simulated(flags)
    return folder / "run"


@pytest.fixture(scope="module")
def pictures(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's test pictures as files, each in a folder named as its class."""
    dataset = open_data(from_toml(run / "config.toml"))
    folder = tmp_path_factory.mktemp("pictures")
    for index in np.flatnonzero(dataset.test):
        path = folder / dataset.classes[dataset.labels[index]] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(dataset.inputs.load(int(index))).save(path)  # type: ignore[union-attr]
    return folder


@pytest.fixture(scope="module")
def embeddings_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the closed-form head on embeddings of size 6, three classes."""
    folder = tmp_path_factory.mktemp("embeddings-run")
    x, y = _embeddings(90)
    np.savez(folder / "train.npz", x=x, y=np.array(["ant", "bee", "wasp"])[y])
    (folder / "parts.json").write_text(json.dumps([list(range(50)), list(range(50, 90))]))
    flags = {
        "engine": "inline",
        "data": f"features:{folder / 'train.npz'}",
        "strategy": "fed3r",
        "own-data-rows": "held-out",
        "partition": f"file:{folder / 'parts.json'}",
        "out": folder / "run",
    }
    _simulated(flags)
    return folder / "run"


def _simulated(flags: dict[str, object]) -> None:
    arguments = [part for key, value in flags.items() for part in (f"--{key}", value)]
    # Data so small would be told to hold out no test part.
    end = finished(simulate.main, "--quiet", *arguments, "--test-fraction", 0)
    assert (end.exit_code, end.stdout, end.stderr) == (0, f"{flags['out']}\n", "")


def _embeddings(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(3)
    y = np.arange(count) % 3
    x = random.normal(size=(count, 6)) + 1.5 * np.eye(3, 6)[y]
    return x.astype(np.float32), y


def _csv(tmp_path: Path, *arguments: object) -> tuple[list[str], list[dict[str, str]], Finished]:
    """Predict into a CSV file; return its heading and its rows."""
    path = tmp_path / "values.csv"
    end = finished(predict.main, *arguments, "--csv", path)
    assert end.exit_code == 0, end.stderr
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    return list(reader.fieldnames or []), rows, end


def test_predictions_are_those_that_the_run_scored(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    _, rows, _ = _csv(tmp_path, run, pictures)
    right = [Path(row["image"]).parent.name == row["predicted"] for row in rows]
    assert len(right) == 40
    summary = json.loads((run / "summary.json").read_text())
    scored = summary["on_new_data"]["federated"]["accuracy"]
    assert np.mean(right) == pytest.approx(scored, abs=1e-12)


def test_probabilities_are_the_softmax_of_the_standardised_linear_head(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    config, head = from_toml(run / "config.toml"), read_head(run / "head.safetensors")
    backbone = load_backbone("fedtl-tiny", weights="DEFAULT", image_size=0, seed=0)
    dataset = open_data(config).subset(np.arange(200, 240))
    features = extract_features(
        dataset.inputs,  # type: ignore[arg-type]
        backbone,
        cache=None,
        precision="float32",
        device="cpu",
        on_progress=None,
    )
    assert head.standardisation is not None
    x = (features.array.astype(np.float64) - head.standardisation.mean) * head.standardisation.scale
    temperature = json.loads((run / "summary.json").read_text())["temperature"]
    odds = np.exp((x @ head.arrays["weight"].T + head.arrays["bias"]) / temperature)
    expected = odds / odds.sum(1, keepdims=True)

    heading, rows, _ = _csv(tmp_path, run, pictures)
    assert heading == ["image", "predicted", *(f"probability of {name}" for name in head.classes)]
    order = [int(Path(row["image"]).stem) - 200 for row in rows]
    values = np.array([[float(row[column]) for column in heading[2:]] for row in rows])
    np.testing.assert_allclose(values, expected[order], atol=2e-5)
    np.testing.assert_allclose(values.sum(1), 1, atol=1e-7)


def test_files_folders_and_archives_give_the_same_whatever_comes_with_them(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(pictures.rglob("*.png")):
            file.write(path, path.relative_to(pictures))
    one = next(iter(sorted(pictures.rglob("*.png"))))
    _, rows, _ = _csv(tmp_path, run, one, pictures, archive)
    lone, from_folder, from_archive = rows[:1], rows[1:41], rows[41:]
    assert [row.pop("image") for row in lone] == [str(one)]
    within = [str(path.relative_to(pictures)) for path in sorted(pictures.rglob("*.png"))]
    assert [row.pop("image") for row in from_folder] == [f"{pictures}/{name}" for name in within]
    assert [row.pop("image") for row in from_archive] == [f"{archive}/{name}" for name in within]
    assert from_folder == from_archive
    assert lone == from_folder[:1]
    _, alone, _ = _csv(tmp_path, run, one)
    assert [{**lone[0], "image": str(one)}] == alone


def test_table_fits_80_columns_and_names_best_and_runner_up(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    picture = next(iter(sorted(pictures.rglob("*.png"))))
    heading, rows, end = _csv(tmp_path, run, picture)
    values = sorted(((float(rows[0][name]), name) for name in heading[2:]), reverse=True)
    best, second = (f"{100 * value:.1f}%" for value, _ in values[:2])
    runner_up = values[1][1].removeprefix("probability of ")
    lines = end.stdout.splitlines()
    assert lines[0].split() == ["Image", "Predicted", "Probability", "Runner-up"]
    assert lines[2].split()[1:] == [rows[0]["predicted"], best, runner_up, second]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in end.stdout
    assert end.stderr == ""


@pytest.mark.parametrize("top", [1, 2, 5, 1000])
def test_top_says_how_many_classes_are_shown(run: Path, pictures: Path, top: int) -> None:
    picture = next(iter(sorted(pictures.rglob("*.png"))))
    end = finished(predict.main, run, picture, "--json", "--top", top)
    [found] = json.loads(end.stdout)
    ranked = [found["probability"], *(other["probability"] for other in found["runners_up"])]
    assert ranked == sorted(ranked, reverse=True)
    shown = [found["predicted"], *(other["class"] for other in found["runners_up"])]
    assert len(set(shown)) == len(shown) == min(top, 8)
    table = finished(predict.main, run, picture, "--top", top).stdout
    assert [name for name in shown if name not in table] == []
    assert ("Runner" in table) == (top > 1)


@pytest.mark.parametrize("measure", ["probability", "score"])
@pytest.mark.parametrize("top", [1, 2, 4])
def test_table_fits_80_columns_with_long_names(measure: str, top: int) -> None:
    values = np.array([[-12.345, 0.1, 0.9, 1.0], [-12.345, -10.2, 0.25, 0.0]])
    if measure == "probability":
        values = np.array([[0.0, 0.0, 0.0, 1.0], [0.25, 0.25, 0.25, 0.25]])
    predictions = Predictions(
        unit="image",
        names=["/a/very/long/folder/" + 12 * "name " + "\x1b[31m.png", "b.png"],
        classes=[f"a class with a long name {index}" for index in range(4)],
        measure=measure,  # type: ignore[arg-type]
        values=values,
    )
    console = Console(width=200, record=True, color_system=None)
    with console.capture() as captured:
        console.print(predictions.table(top))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in captured.get()
    assert lines[2].rstrip().startswith("/a/very/long")
    assert ("100.0%" if measure == "probability" else "1.000") in lines[2]


def test_unreadable_images_are_named_and_skipped(run: Path, pictures: Path, tmp_path: Path) -> None:
    good = next(iter(sorted(pictures.rglob("*.png"))))
    shutil.copy(good, tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "notes.txt").write_text("not looked at")
    _, rows, end = _csv(tmp_path, run, tmp_path)
    assert [row["image"] for row in rows] == [f"{tmp_path}/good.png"]
    aside, first, second = end.stderr.splitlines()
    assert aside == f"warning: {tmp_path}: 1 file left aside: .txt (1)"
    assert first.startswith(f"warning: {tmp_path}/broken.png cannot be read and is skipped: ")
    assert second.startswith(f"warning: {tmp_path}/text.jpg cannot be read and is skipped: ")

    (tmp_path / "good.png").unlink()
    sentence = complaint(predict.main, run, tmp_path)
    assert sentence == "There is nothing to classify: of 2 images, none can be read."


def test_a_broken_archive_member_is_skipped(run: Path, pictures: Path, tmp_path: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, path in zip("ab", sorted(pictures.rglob("*.png")), strict=False):
            file.write(path, f"{name}.png")
    content = bytearray(archive.read_bytes())
    content[200] ^= 0xFF
    archive.write_bytes(content)
    _, rows, end = _csv(tmp_path, run, archive)
    assert [row["image"] for row in rows] == [f"{archive}/b.png"]
    assert f"{archive}/a.png cannot be read" in end.stderr


def test_a_closed_form_head_gives_its_scores_as_they_are(
    embeddings_run: Path, tmp_path: Path
) -> None:
    x, _ = _embeddings(200)
    np.savez(tmp_path / "new.npz", x=x)
    head = read_head(embeddings_run / "head.safetensors")
    expected = x.astype(np.float64) @ head.arrays["weight"].T + head.arrays["bias"]
    heading, rows, end = _csv(tmp_path, embeddings_run, f"features:{tmp_path / 'new.npz'}")
    assert heading == ["row", "predicted", "score of ant", "score of bee", "score of wasp"]
    values = np.array([[float(row[column]) for column in heading[2:]] for row in rows])
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert (values < 0).any()
    assert [row["row"] for row in rows[:2]] == ["new.npz:0", "new.npz:1"]
    assert end.stdout.split()[:4] == ["Row", "Predicted", "Score", "Runner-up"]
    assert "%" not in end.stdout


def test_a_closed_form_head_predicts_what_the_run_scored(
    embeddings_run: Path, tmp_path: Path
) -> None:
    held_out = [
        row
        for client in json.loads((embeddings_run / "partition.json").read_text())["clients"]
        for row in client["held-out"]
    ]
    x, y = _embeddings(90)
    np.savez(tmp_path / "held-out.npz", x=x[held_out])
    end = finished(predict.main, embeddings_run, f"features:{tmp_path / 'held-out.npz'}", "--json")
    predicted = [found["predicted"] for found in json.loads(end.stdout)]
    truth = np.array(["ant", "bee", "wasp"])[y[held_out]]
    summary = json.loads((embeddings_run / "summary.json").read_text())
    assert np.mean(truth == predicted) == pytest.approx(summary["federated"]["accuracy"])


def _npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return f"features:{path}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda folder: folder / "a.png", ["was trained on embeddings", "features:FILE.npz"]),
        (lambda folder: f"features:{folder}/none.npz", ["none.npz does not exist"]),
        (lambda folder: _npz(folder / "y.npz", y=[1, 2]), ["y.npz has no array x", "(n, 6)"]),
        (lambda folder: _npz(folder / "w.npz", x=np.ones((3, 5))), ["(3, 5)", "(n, 6)"]),
        (lambda folder: _npz(folder / "0.npz", x=np.ones((0, 6))), ["(0, 6)", "(n, 6)"]),
        (lambda folder: _npz(folder / "t.npz", x=[["a"] * 6]), ["<U1", "(n, 6)"]),
        (
            lambda folder: _npz(folder / "n.npz", x=np.array([[0.0] * 6, [np.nan] * 6])),
            ["n.npz: row 1 of x", "NaN"],
        ),
        (lambda folder: _npz(folder / "b.npz", x=np.full((1, 6), 1e300)), ["row 0", "float32"]),
    ],
)
def test_bad_embeddings_are_refused(
    embeddings_run: Path, tmp_path: Path, given: Callable[[Path], object], said: list[str]
) -> None:
    sentence = complaint(predict.main, embeddings_run, given(tmp_path))
    assert [words for words in said if words not in sentence] == []


def test_bad_images_are_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    picture = next(iter(sorted(pictures.rglob("*.png"))))

    def sentence(*arguments: object) -> str:
        return complaint(predict.main, run, *arguments)

    assert "/none.png does not exist" in sentence(picture, tmp_path / "none.png")
    assert "does not exist" in sentence("x" * 5000)
    assert "was trained on images" in sentence("features:x.npz")
    (tmp_path / "empty").mkdir()
    assert sentence(tmp_path / "empty") == f"{tmp_path / 'empty'} holds no images."
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    assert "broken.zip is neither a folder nor a sound zip" in sentence(tmp_path / "broken.zip")
    assert "--top" in sentence(picture, "--top", 0)
    assert "INPUT" in sentence()
    unwritable = complaint(predict.main, run, picture, "--csv", picture / "a.csv", exit_code=1)
    place = picture / "a.csv"
    assert unwritable.startswith(f"{place} cannot be written: File exists; ")


def test_what_is_no_finished_run_is_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    missing = complaint(predict.main, tmp_path / "none", pictures)
    assert missing.startswith(f"{tmp_path / 'none'} is not a run folder")
    shutil.copy(run / "config.toml", tmp_path)
    assert f"--resume {tmp_path}" in complaint(predict.main, tmp_path, pictures)
    (tmp_path / "head.safetensors").write_bytes(b"half a head")
    assert "is not a trained head" in complaint(predict.main, tmp_path, pictures)


def test_another_backbone_is_refused_and_both_are_named(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    config, head = from_toml(run / "config.toml"), read_head(run / "head.safetensors")
    text = (run / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(text.replace('"DEFAULT"', '"random"'))
    (tmp_path / "head.safetensors").write_bytes(head.to_bytes())
    other = load_backbone(config.backbone, weights="random", image_size=0, seed=config.seed)
    sentence = complaint(predict.main, tmp_path, pictures)
    assert other.fingerprint in sentence
    assert head.fingerprint in sentence


def test_weights_that_were_moved_are_named(run: Path, pictures: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(run / "head.safetensors", moved)
    text = (run / "config.toml").read_text()
    absent = tmp_path / "absent.safetensors"
    (moved / "config.toml").write_text(text.replace('"DEFAULT"', json.dumps(str(absent))))
    assert f"The weights file {absent} does not exist" in complaint(predict.main, moved, pictures)
    (weights,) = Path(fedtl.weights.__path__[0]).glob("*.safetensors")
    found = finished(predict.main, moved, pictures, "--weights", weights, "--json")
    assert found.stdout == finished(predict.main, run, pictures, "--json").stdout
    assert str(absent) not in found.stderr


def test_embeddings_have_no_weights(embeddings_run: Path) -> None:
    told = complaint(predict.main, embeddings_run, "features:x.npz", "--weights", "w.pth")
    assert told.endswith("was trained on embeddings and has no backbone; leave --weights out.")


def test_a_head_of_another_form_is_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    head = read_head(run / "head.safetensors")
    text = (run / "config.toml").read_text()
    (tmp_path / "head.safetensors").write_bytes(head.to_bytes())
    (tmp_path / "config.toml").write_text(text.replace('head = "linear"', 'head = "mlp"'))
    assert "is not of the form head = 'mlp'" in complaint(predict.main, tmp_path, pictures)
    (tmp_path / "config.toml").write_text(text)
    cut = replace(head, arrays={**head.arrays, "bias": head.arrays["bias"][:-1]})
    (tmp_path / "head.safetensors").write_bytes(cut.to_bytes())
    assert "bias (7,)" in complaint(predict.main, tmp_path, pictures)
