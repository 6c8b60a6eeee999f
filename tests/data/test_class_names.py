"""Classes as a person reads them, those that nobody trains, and rare ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import complaint, finished
from opened_data import png

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError


def _tree(root: Path, counts: dict[str, int]) -> Path:
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / f"{number}.png").write_bytes(png(number))
    return root


def _open(spec: object, **reading: Any) -> Dataset:
    return open_dataset(RunConfig(data=str(spec), **reading))


@pytest.mark.parametrize(
    ("train", "test"),
    [("disc", "Disc"), ("disc", "disc "), ("lung cancer", "Lung_Cancer"), ("straße", "STRASSE")],
)
def test_case_and_space_between_training_and_test(train: str, test: str, tmp_path: Path) -> None:
    counts = {f"train/{train}": 3, "train/frame": 3, f"test/{test}": 2, "test/frame": 2}
    folder = _tree(tmp_path / "d", counts)
    with pytest.raises(UsageError, match=r"differ only by case or space.* only tested") as caught:
        _open(folder)
    assert repr(train) in str(caught.value) and repr(test) in str(caught.value)
    data = _open(folder, classes="fold-case")
    assert data.classes == (train, "frame") if train < "frame" else ("frame", train)
    assert np.bincount(data.labels).tolist() == [5, 5]
    assert data.test.sum() == 4
    kept = _open(folder, classes="exact")
    assert (len(kept), int(kept.test.sum())) == (8, 2)
    assert "2 are of" in kept.notes[0]


def test_spellings_of_one_unicode_name_are_one(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "d", {"train/café": 3, "train/x": 3, "test/cafe\u0301": 2})
    assert _open(folder).classes == ("café", "x")


def test_letters_side_by_side_are_different_classes_and_told(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "d", {"a": 2, "B": 2, "b": 2})
    data = _open(folder)
    assert data.classes == ("B", "a", "b")
    [note] = data.notes
    assert "'B' and 'b'" in note and "--classes exact settles that" in note
    assert _open(folder, classes="exact").notes == ()
    assert _open(folder, classes="fold-case").classes == ("B", "a")


def test_signs_are_no_gaps(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.eye(6), y=[-1, 1, -1, 1, -1, 1])
    assert _open(f"features:{tmp_path / 'x.npz'}").classes == ("-1", "1")


def test_classes_that_nobody_trains_are_left_out_of_scores(tmp_path: Path) -> None:
    counts = {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2, "test/c": 5, "test/d": 1}
    data = _open(_tree(tmp_path / "d", counts))
    assert data.classes == ("a", "b")
    assert int(data.test.sum()) == 4
    assert len(data.left_aside) == 6
    [note] = data.notes
    assert note.startswith("of the test split's 10 images, 6 are of c, d, classes that nobody")
    assert "over the 4 images of the 2 trained classes" in note


def test_a_test_split_of_other_classes_is_refused(tmp_path: Path) -> None:
    counts = {"train/cat": 3, "train/dog": 3, "test/0": 2, "test/1": 2}
    with pytest.raises(UsageError, match=r"\(0, 1\) is among the training data's \(cat, dog\)"):
        _open(_tree(tmp_path / "d", counts))


def test_a_class_that_is_misspelt_is_asked_about(tmp_path: Path) -> None:
    counts = {"train/ants": 3, "train/bees": 3, "test/ant": 2, "test/bees": 2, "test/wasps": 1}
    [note] = _open(_tree(tmp_path / "d", counts)).notes
    assert "3 are of ant (did you mean ants?), wasps, classes that nobody trains" in note


def test_untrained_classes_of_features(tmp_path: Path) -> None:
    y, test = np.arange(9) % 3, np.arange(9) >= 6
    np.savez(tmp_path / "x.npz", x=np.eye(9), y=np.where(test, y, y % 2), test=test)
    data = _open(f"features:{tmp_path / 'x.npz'}")
    assert (len(data), data.classes, int(data.test.sum())) == (8, ("0", "1"), 2)
    assert "1 are of 2, a class that nobody trains" in data.notes[0]


def test_another_site_may_train_what_a_real_site_only_tests(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "d", {"train/a": 3, "train/b": 3, "test/a": 2, "test/c": 2})
    data = open_dataset(RunConfig(data=str(folder)), own=True)
    assert data.classes == ("a", "b", "c")


def test_rare_classes_are_named_at_once_and_dropped_if_asked(tmp_path: Path) -> None:
    counts = {f"p{number:02d}": 1 + 4 * (number < 3) for number in range(20)} | {"few": 2}
    folder = _tree(tmp_path / "d", counts)
    with pytest.raises(UsageError, match="17 classes have a single image") as caught:
        _open(folder)
    assert all(f"p{number:02d}" in str(caught.value) for number in range(3, 20))
    assert "--min-per-class 2 drops such classes" in str(caught.value)
    data = _open(folder, min_per_class=2)
    assert data.classes == ("few", "p00", "p01", "p02")
    assert data.notes[0].startswith("min-per-class = 2 drops 17 of 21 classes, with 17 images: p03")
    assert _open(folder, min_per_class=3).classes == ("p00", "p01", "p02")
    with pytest.raises(UsageError, match=r"leaves 0 of 21 classes.* at least 5 images"):
        _open(folder, min_per_class=6)


def test_rare_classes_of_features_and_groups(tmp_path: Path) -> None:
    y = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    group = np.array([0, 1, 1, 2, 3, 3, 4, 4])
    np.savez(tmp_path / "x.npz", x=np.eye(8), y=y, group=group)
    spec = f"features:{tmp_path / 'x.npz'}"
    with pytest.raises(UsageError, match="class 2 has a single group"):
        _open(spec)
    data = _open(spec, min_per_class=2)
    assert (len(data), data.classes) == (6, ("0", "1"))
    assert data.groups is not None and len(set(data.groups.tolist())) == 4


def test_classes_that_become_rare_by_what_cannot_be_decoded_are_dropped_too(
    tmp_path: Path,
) -> None:
    folder = _tree(tmp_path / "d", {"a": 12, "b": 12, "c": 3})
    for number in range(2):
        (folder / "c" / f"{number}.png").write_bytes(b"no picture")
    flags = ["--data", folder, "--clients", 2, "--engine", "inline", "--strategy", "fedncm"]
    flags += ["--partition", "iid", "--quiet"]
    said = complaint(simulate.main, *flags, "--out", tmp_path / "one")
    assert "class c has a single image" in said
    end = finished(simulate.main, *flags, "--min-per-class", 2, "--out", tmp_path / "two")
    assert end.exit_code == 0, end.stderr
    assert "min-per-class = 2 drops 1 of 3 classes, with 1 image: c" in end.stderr
    split = json.loads((tmp_path / "two" / "partition.json").read_text())
    rows = [row for one in split["clients"] for row in (*one["train"], *one["held-out"])]
    assert sorted(rows) == list(range(24))


def test_new_data_are_scored_over_the_trained_classes(tmp_path: Path) -> None:
    counts = {"train/a": 12, "train/b": 12, "test/a": 4, "test/b": 4, "test/c": 9}
    flags = ["--data", _tree(tmp_path / "d", counts), "--clients", 2, "--engine", "inline"]
    flags += ["--strategy", "fedncm", "--partition", "iid", "--duplicates", "keep"]
    flags += ["--out", tmp_path / "run"]
    end = finished(simulate.main, *flags)
    assert end.exit_code == 0, end.stderr
    assert "over the 8 images of the 2 trained classes" in end.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["on_new_data"]["federated"]["examples"] == 8
    listed = (tmp_path / "run" / "unreadable.csv").read_text()
    assert listed.count("of a class that nobody trains") == 9
