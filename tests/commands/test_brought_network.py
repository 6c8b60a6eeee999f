"""A run whose network brings Python of its own, and its folder in somebody else's hands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from brought_network import keep_copies_apart, write_brought
from in_process import complaint, finished
from tiny_encoders import WORDS

from fedtl import RunResult, compare, export, predict, simulate

REFUSED = "which somebody may have sent, asks that the Python run that"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 60 reviews at two sites, and the reviews and the network beside it."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("brought")
    with (folder / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["site", "text", "label"])
        for number in range(60):
            words = rng.choice(WORDS.split(), 6).tolist()
            writer.writerow([number % 2, " ".join(words), number // 2 % 2])
    place = write_brought(folder)
    with pytest.MonkeyPatch.context() as patch:
        keep_copies_apart(patch)
        arguments = f"--data {folder}/reviews.csv --partition natural --strategy fed3r --no-cache"
        arguments += f" --engine inline --quiet --backbone hf:{place} --trust-remote-code"
        end = finished(simulate.main, *arguments.split(), "--out", folder / "run")
    assert end.exit_code == 0, end.stderr
    assert "trust-remote-code = true" in (folder / "run" / "config.toml").read_text()
    return folder / "run"


@pytest.fixture(autouse=True)
def _copies(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_copies_apart(monkeypatch)


def test_a_folders_network_runs_none_of_its_python_unless_trusted(
    run: Path, tmp_path: Path
) -> None:
    given = run.with_name("reviews.csv")
    assert REFUSED in (told := complaint(predict.main, run, given))
    assert told.endswith("add --trust.")
    assert complaint(export.main, run, "--to", "onnx", "--out", tmp_path / "x") == told
    half = Path(shutil.copytree(run, tmp_path / "half"))
    (half / "summary.json").unlink()
    assert complaint(simulate.main, "--resume", half) == told
    # Reading what came of it runs nothing.
    assert RunResult.load(run).head is not None
    end = finished(predict.main, run, given, "--trust", "--json")
    assert end.exit_code == 0 and len(json.loads(end.stdout)) == 60


def test_a_comparisons_folder_likewise(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    place, data = run.with_name("plain"), run.with_name("reviews.csv")
    arguments = f"--data {data} --partition natural --strategies fed3r,fedncm --seeds 1 --no-cache"
    arguments += f" --engine inline --quiet --backbone hf:{place} --trust-remote-code --out {out}"
    assert finished(compare.main, *arguments.split()).exit_code == 0
    for file in (out / "cells").glob("*fedncm*.json"):
        file.unlink()
    assert REFUSED in complaint(compare.main, "--resume", out)
    assert finished(compare.main, "--resume", out, "--trust", "--quiet").exit_code == 0


def test_only_the_network_as_it_computes_is_exported(run: Path) -> None:
    told = complaint(export.main, run, "--trust", "--to", "torch")
    assert "the Python that makes this network is the run's own" in told
