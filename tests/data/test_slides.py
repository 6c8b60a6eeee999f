"""Embeddings of slides: pooled as NumPy pools them, with labels, sites and patients of a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from in_process import complaint, finished

from fedtl import predict, simulate
from fedtl.config import RunConfig
from fedtl.data import slide_folder
from fedtl.data.dataset import Dataset
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError

RNG = np.random.default_rng(0)


def _write(path: Path, features: Any, name: str = "features") -> None:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = features
        file["coords"] = np.zeros((len(features), 2), np.int64)


@pytest.fixture
def slides(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray[Any, Any]]]:
    """24 slides of 12 patients at two sites, of 1 to 60 patches; every third nested."""
    held = {}
    lines = ["slide_id,patient,hospital,label"]
    for number in range(24):
        label, count = "ab"[number // 2 % 2], int(RNG.integers(1, 60))
        features = (1000 + RNG.normal(number // 2 % 2, 1, (count, 5))).astype(np.float32)
        name = f"TCGA-{number:02d}.x"
        whole = features[None] if number % 3 == 0 else features
        _write(tmp_path / "feats" / ["n", "s"][number // 4 % 2] / f"{name}.h5", whole)
        held[name] = features
        lines.append(f"{name}.svs,P{number // 2},{['north', 'south'][number // 4 % 2]},{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path, held


def _open(root: Path, labels: str = "labels.csv") -> Dataset:
    return open_dataset(RunConfig(data=f"features:{root / 'feats'}", labels=str(root / labels)))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    (tmp_path / "feats").mkdir()


@pytest.mark.parametrize("at_once", [7, 16_384])
def test_means_and_deviations_are_numpys(
    at_once: int,
    slides: tuple[Path, dict[str, np.ndarray[Any, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slide_folder, "_ROWS_AT_ONCE", at_once)
    root, held = slides
    found = _open(root)
    assert isinstance(found.inputs, np.ndarray)
    assert found.inputs.shape == (24, 10)
    for name, pooled in zip(found.keys, found.inputs, strict=True):
        exact = held[name].astype(np.float64)
        np.testing.assert_allclose(pooled[:5], exact.mean(0), rtol=1e-6)
        np.testing.assert_allclose(pooled[5:], exact.std(0), rtol=1e-4, atol=1e-6)
    assert found.sites is not None
    assert found.groups is not None
    assert len(set(found.groups.tolist())) == 12
    assert found.classes == ("a", "b")
    assert found.notes == ()


def test_features_far_from_zero_keep_their_deviation(tmp_path: Path) -> None:
    features = 1e8 + RNG.normal(0, 1, (50, 3))
    _write(tmp_path / "feats" / "far.h5", features)
    pooled = slide_folder.pooled(tmp_path / "feats" / "far.h5")
    np.testing.assert_allclose(pooled[3:], features.std(0), rtol=1e-5)


def test_a_run_on_slides_keeps_patients_together(
    slides: tuple[Path, dict[str, np.ndarray[Any, Any]]],
) -> None:
    root, _ = slides
    flags = ("--data", f"features:{root / 'feats'}", "--labels", root / "labels.csv")
    flags += ("--partition=natural", "--strategy=fed3r", "--engine=inline", "--no-cache")
    end = finished(simulate.main, *flags, "--out", root / "run")
    assert end.exit_code == 0, end.stderr
    assert "12 patients" in end.stdout + end.stderr or "12 groups" in end.stdout + end.stderr
    assert "has no effect" not in end.stderr
    (root / "feats" / "cut.h5").write_bytes(b"no HDF5 at all")
    told = finished(predict.main, root / "run", f"features:{root / 'feats'}", "--csv", root / "p")
    assert told.exit_code == 0, told.stderr
    assert "cut.h5 cannot be read and is skipped" in told.stderr
    with (root / "p").open() as file:
        classes = {row["row"]: row["predicted"] for row in csv.DictReader(file)}
    true = {f"TCGA-{number:02d}.x": "ab"[number // 2 % 2] for number in range(24)}
    assert classes.keys() == true.keys()
    assert sum(classes[name] == true[name] for name in true) >= 22
    given = (root / "run", f"features:{root / 'feats'}", "--score", "--json")
    scored = finished(predict.main, *given, "--labels", root / "labels.csv")
    assert scored.exit_code == 0, scored.stderr
    told_of = json.loads(scored.stdout)
    right = sum(classes[name] == true[name] for name in true)
    assert (told_of["examples"], told_of["correct"], told_of["groups"]) == (24, right, 12)
    assert "which slide is of which class? --labels" in complaint(predict.main, *given)
    one = finished(predict.main, root / "run", f"features:{root / 'feats' / 'n' / 'TCGA-02.x.h5'}")
    assert (one.exit_code, "TCGA-02.x" in one.stdout) == (0, True)
    for bad, said in (("cut.h5", "none of its 1 slides can be read"), ("wide.h5", "(n, 10)")):
        if bad == "wide.h5":
            _write(root / "feats" / bad, np.ones((3, 6)))
        end = finished(predict.main, root / "run", f"features:{root / 'feats' / bad}")
        assert (end.exit_code, said in end.stderr) == (2, True), end.stderr


def test_what_cannot_be_used_is_left_aside_and_told(
    slides: tuple[Path, dict[str, np.ndarray[Any, Any]]],
) -> None:
    root, _ = slides
    folder = root / "feats"
    _write(folder / "unknown.h5", np.ones((3, 5)))
    (folder / "n" / "TCGA-00.x.h5").write_bytes(b"no HDF5 at all")
    _write(folder / "n" / "TCGA-02.x.h5", np.full((3, 5), np.nan))
    _write(folder / "s" / "TCGA-04.x.h5", np.ones((3, 5)), name="other")
    with h5py.File(folder / "s" / "TCGA-06.x.h5", "w") as file:
        file["features"] = h5py.ExternalLink(str(folder / "unknown.h5"), "features")
    with h5py.File(folder / "n" / "TCGA-08.x.h5", "w") as file:
        outside = [(str(root / "labels.csv"), 0, 40)]
        file.create_dataset("features", (2, 5), np.float32, external=outside)
    found = _open(root)
    assert len(found) == 19
    reasons = {one.path: one.kind for one in found.left_aside}
    assert reasons["unknown.h5"] == "slide without a label"
    assert "no HDF5 file" in reasons["TCGA-00.x.h5"]
    assert "NaN" in reasons["TCGA-02.x.h5"]
    for number in ("04", "06", "08"):
        assert "data set features of its own" in reasons[f"TCGA-{number}.x.h5"]
    assert found.notes[0].startswith("6 slides are left aside, first ")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("a,label\nx,1\n", "has no column slide; its columns are a, label"),
        ("slide,site\nx,1\n", "which column is the label"),
        ("slide,label\nnobody,1\n", r"none of its 24 slides; .* as TCGA-00\.x: .* nobody$"),
        ("slide,label\nTCGA-00.x,a\nTCGA-00.x,b\n", "two things of the slide TCGA-00.x"),
        ("slide,label,split\nTCGA-00.x,a,monday\n", "split 'monday'"),
    ],
)
def test_a_table_that_does_not_serve_is_told(
    table: str, told: str, slides: tuple[Path, dict[str, np.ndarray[Any, Any]]]
) -> None:
    root, _ = slides
    (root / "other.csv").write_text(table)
    with pytest.raises(UsageError, match=told):
        _open(root, "other.csv")


def test_one_slide_and_one_line_are_told_in_the_singular(
    slides: tuple[Path, dict[str, np.ndarray[Any, Any]]],
) -> None:
    root, _ = slides
    (root / "feats" / "cut.h5").write_bytes(b"no HDF5 at all")
    lines = (root / "labels.csv").read_text().splitlines()
    absent = lines[1].replace(lines[1].split(",")[0], "nobody")
    (root / "more.csv").write_text("\n".join((*lines, absent)))
    aside, unnamed = _open(root, "more.csv").notes
    assert aside.startswith("1 slide is left aside, first cut.h5")
    assert unnamed == f"1 line of {root / 'more.csv'} names no slide, first nobody"


def test_without_a_table_and_with_two_widths(
    slides: tuple[Path, dict[str, np.ndarray[Any, Any]]],
) -> None:
    root, _ = slides
    with pytest.raises(UsageError, match=r"which slide is of which class\? --labels"):
        open_dataset(RunConfig(data=f"features:{root / 'feats'}"))
    _write(root / "feats" / "n" / "TCGA-00.x.h5", np.ones((3, 4)))
    with pytest.raises(UsageError, match=r"features a patch, and .*; take out"):
        _open(root)


def test_slides_that_are_given_as_pictures_are_pointed_the_way(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["features"] = np.zeros((3, 4), np.float32)
    with pytest.raises(UsageError, match=r"holds no images .*: .*--data features:.* --labels"):
        open_dataset(RunConfig(data=str(tmp_path)))
