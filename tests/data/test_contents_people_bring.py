"""What files hold, as public reports tell of it, each through the command: what is said and scored.

The files come from ``../shared/inputs``; ``test_inputs_people_bring`` has those of layouts.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import complaint, finished
from shared_inputs import MAKE, Made, cases, flags

from fedtl import simulate
from fedtl.observers.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not MAKE.is_file(), reason="../shared/inputs is not there")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Write one of the inputs, once, without the file of 74 MB that no test here reads."""
    writers = cases()
    root, savez = tmp_path_factory.mktemp("made"), np.savez

    def small(path: Path, **arrays: Any) -> None:
        if path.name != "big.npz":
            savez(path, **arrays)

    def make(case: str) -> Path:
        if not (root / case).exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(np, "savez", small)
                writers[case](root / case)
        return root / case

    return make


def run(data: object, out: Path, *more: object) -> tuple[dict[str, Any], str]:
    """Return a run's summary and what it said."""
    end = finished(simulate.main, *flags(data, out), *more)
    assert end.exit_code == 0, end.stderr
    return json.loads((out / "summary.json").read_text()), end.stderr


def new_data(summary: dict[str, Any]) -> float:
    return float(summary["on_new_data"]["federated"]["accuracy"])


@pytest.mark.parametrize("case", ["grey-twelve", "grey-eight", "grey-hounsfield", "grey-float"])
def test_grey_values_of_any_depth(case: str, made: Made, tmp_path: Path) -> None:
    summary, said = run(made(case), tmp_path / "run")
    assert summary["federated"]["accuracy"] >= 0.98 and new_data(summary) >= 0.98
    assert ("--grey-range LOW HIGH" in said) == (case != "grey-eight")
    assert not (tmp_path / "run" / "unreadable.csv").exists()


@pytest.mark.parametrize("case", ["metadata-icc", "metadata-ztxt"])
def test_metadata_of_megabytes(case: str, made: Made, tmp_path: Path) -> None:
    summary, _ = run(made(case), tmp_path / "run")
    assert summary["federated"]["accuracy"] == 1.0
    assert not (tmp_path / "run" / "unreadable.csv").exists()


@pytest.fixture(scope="module")
def plain_features(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("ok") / "run"
    return run(f"features:{made('embeddings') / 'ok.npz'}", out)[0]


@pytest.mark.parametrize("name", ["bytes_site", "float_labels", "column_labels", "one_hot"])
def test_the_same_numbers_as_other_types(
    name: str, plain_features: dict[str, Any], made: Made, tmp_path: Path
) -> None:
    summary, said = run(f"features:{made('embeddings') / name}.npz", tmp_path / "run")
    assert summary["head_sha256"] == plain_features["head_sha256"]
    assert summary["federated"] == plain_features["federated"]
    assert ("3 sites" in said) == (name == "bytes_site")


def test_labels_as_bytes_bools_and_objects(
    plain_features: dict[str, Any], made: Made, tmp_path: Path
) -> None:
    folder = made("embeddings")
    summary, said = run(f"features:{folder / 'bytes.npz'}", tmp_path / "bytes")
    assert said.startswith("240 rows, 3 classes (a 80, b 80, straße 80)")
    assert new_data(summary) == new_data(plain_features)
    said = run(f"features:{folder / 'bool_labels.npz'}", tmp_path / "bools")[1]
    assert said.startswith("240 rows, 2 classes (False 160, True 80)")
    said = complaint(simulate.main, *flags(f"features:{folder / 'objects.npz'}", tmp_path / "no"))
    assert "array y holds Python objects" in said and "y.astype(str)" in said


class Killed(BaseException):
    """Like SIGKILL, nothing of ours catches it."""


def test_a_killed_run_does_not_go_on_with_other_features(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "ok.npz", tmp_path / "run"
    shutil.copy(made("embeddings") / "ok.npz", path)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "round", die)
        finished(simulate.main, *flags(f"features:{path}", out), "--strategy", "fedavg")
    shutil.copy(made("embeddings") / "changed.npz", path)
    said = complaint(simulate.main, "--resume", out, exit_code=1)
    assert said.startswith("The data is not what it was: 240 rows changed, first 0; a run goes on")
    shutil.copy(made("embeddings") / "ok.npz", path)
    end = finished(simulate.main, "--resume", out)
    assert end.exit_code == 0 and (out / "summary.json").exists(), end.stderr


def test_patients_are_held_out_whole(made: Made, tmp_path: Path) -> None:
    path, natural = made("patients") / "patients.npz", ("--partition", "natural")
    summary, said = run(f"features:{path}", tmp_path / "run", *natural)
    assert "640 rows, 2 classes (0: 320, 1: 320), 8 sites, 80 groups" in said
    local, federated = (summary[who]["accuracy"] for who in ("local_only", "federated"))
    assert 0.5 < local < 0.7 and 0.7 < federated < 0.86
    with np.load(path) as file:
        arrays = {name: file[name] for name in ("x", "y", "site")}
    np.savez(tmp_path / "rows.npz", **arrays)
    by_row, said = run(f"features:{tmp_path / 'rows.npz'}", tmp_path / "rows", *natural)
    assert by_row["local_only"]["accuracy"] > 0.95, "by row, a patient is known from training"


def test_duplicates_are_kept_out_of_the_score(made: Made, tmp_path: Path) -> None:
    _, said = run(made("duplicates"), tmp_path / "run")
    assert (
        "duplicates: 11 in the test part equal a client's example to the byte and are left out of "
        "scores (duplicates = drop); 1 of the contents carries two labels; first "
    ) in said
    with (tmp_path / "run" / "duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["two_labels"] for row in rows].count("yes") == 1
    (wrong,) = [row for row in rows if row["two_labels"] == "yes"]
    assert {wrong["file"], wrong["equals"]} == {"test/disc/09.png", "train/frame/wrong.png"}
    copies = {row["file"] for row in rows} | {row["equals"] for row in rows}
    expected = {f"test/{c}/{n:02d}.png" for c in ("disc", "frame") for n in range(5)}
    assert expected <= copies


def test_checkpoints_in_ways_people_save_them(made: Made, tmp_path: Path) -> None:
    folder, data = made("checkpoints"), made("splits-train-test-valid") / "train"
    found = {}
    for path in sorted(folder.iterdir()):
        out = tmp_path / path.name
        more = ("--backbone", "squeezenet1_1", "--image-size", 32, "--weights", path)
        if path.name == "cut_short.pth":
            said = complaint(simulate.main, *flags(data, out), *more)
            assert f"{path} is damaged: it begins as PyTorch writes and is cut short" in said
            continue
        summary, said = run(data, out, *more)
        found[path.name] = summary["head_sha256"]
        plain = path.name.startswith("plain") and path.suffix != ".tar"
        assert ("the network lies" in said) != plain
    assert len(found) == 10 and set(found.values()) == {found["plain.pth"]}
