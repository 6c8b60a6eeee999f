"""Small inputs as public reports tell of them, through the command: what is said and scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Finished, complaint, finished
from shared_inputs import MAKE, Made, cases, flags

from fedtl import simulate

pytestmark = pytest.mark.skipif(not MAKE.is_file(), reason="../shared/inputs is not there")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Write one of the inputs."""
    writers = cases()

    def make(case: str) -> Path:
        writers[case](tmp_path / case)
        return tmp_path / case

    return make


def run(data: object, out: Path, *more: object) -> Finished:
    end = finished(simulate.main, *flags(data, out), *more)
    assert end.exit_code == 0, end.stderr
    return end


def accuracies(out: Path) -> set[float]:
    """Return the federated head's accuracies on own data, and on new data if there are any."""
    summary = json.loads((out / "summary.json").read_text())
    new = summary.get("on_new_data") or {}
    found = {summary["federated"]["accuracy"]}
    return found | ({new["federated"]["accuracy"]} if "federated" in new else set())


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            "splits-training-testing",
            "80 images, 2 classes (disc 40, frame 40), test split of 20",
        ),
        (
            "splits-train-test-valid",
            "100 images, 2 classes (disc 50, frame 50), test split of 20",
        ),
        (
            "class-subfolders",
            "96 images, 2 classes (disc 48, frame 48), 8 patients, no test split",
        ),
        (
            "test-class-unknown",
            "60 images, 2 classes (disc 30, frame 30), no test split; 20 files left aside: "
            "unlabelled picture (20)",
        ),
    ],
)
def test_splits_and_layouts(case: str, sentence: str, made: Made, tmp_path: Path) -> None:
    end = run(made(case), tmp_path / "run")
    assert end.stderr.splitlines()[0] == sentence
    assert accuracies(tmp_path / "run") == {1.0}
    if case == "test-class-unknown":
        assert "all 20 images of the test split lie in unknown, a class that nobody" in end.stderr


@pytest.mark.parametrize("case", ["test-class-case", "test-class-space"])
def test_names_of_test_classes(case: str, made: Made, tmp_path: Path) -> None:
    data = made(case)
    said = complaint(simulate.main, *flags(data, tmp_path / "run"))
    assert "'disc" in said and "differ only by case or space" in said
    run(data, tmp_path / "run", "--classes", "fold-case")
    assert accuracies(tmp_path / "run") == {1.0}


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("left-aside-heic", "12 files left aside: .heic (12); class cross has none left"),
        ("left-aside-dcm", "12 files left aside: .dcm (12); class cross has none left"),
        ("left-aside-empty", "class cross has none left"),
    ],
)
def test_a_class_that_has_nothing_left(case: str, told: str, made: Made, tmp_path: Path) -> None:
    end = run(made(case), tmp_path / "run")
    assert [line for line in end.stderr.splitlines() if told in line and "warning" in line]
    with (tmp_path / "run" / "unreadable.csv").open() as file:
        listed = [row["image"] for row in csv.DictReader(file)]
    assert len(listed) == (1 if case == "left-aside-empty" else 12)
    assert all(name.startswith("cross") for name in listed)
    assert accuracies(tmp_path / "run") == {1.0}


def test_names_in_a_zip(made: Made, tmp_path: Path) -> None:
    folder = made("zip-names")
    sentences = set()
    for name in ("plain", "dot_slash"):
        end = run(folder / f"{name}.zip", tmp_path / name)
        sentences.add(end.stderr.splitlines()[0])
        assert accuracies(tmp_path / name) == {1.0}
    assert sentences == {"40 images, 2 classes (disc 20, frame 20), no test split"}


def test_rare_classes_of_a_feature_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numpy.savez", _small_alone(__import__("numpy").savez))
    data = f"features:{made('embeddings') / 'lone.npz'}"
    said = complaint(simulate.main, *flags(data, tmp_path / "run"))
    assert "5 classes have a single row, but every class needs at least two: 3, 4, 5, 6, 7" in said
    assert "--min-per-class 2 drops such classes" in said
    end = run(data, tmp_path / "run", "--min-per-class", 2)
    assert "min-per-class = 2 drops 5 of 8 classes, with 5 rows: 3, 4, 5, 6, 7" in end.stderr


def _small_alone(savez: Callable[..., None]) -> Callable[..., None]:
    """Return ``savez`` without the file of 74 MB, which this test does not read."""
    return lambda path, **arrays: None if path.name == "big.npz" else savez(path, **arrays)
