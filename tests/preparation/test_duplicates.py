"""Examples that are the same to the byte: out of the scores, and named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from dealt_rows import dataset
from in_process import finished
from numpy.typing import NDArray

from fedtl import compare, simulate
from fedtl.config import RunConfig
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.split import Split
from fedtl.transfer.shared_features import Spill


def _inputs(labels: list[int], content: list[int]) -> Inputs:
    spill = Spill()
    rows = np.arange(len(labels))
    features = spill.share(np.zeros((len(labels), 1), np.float32))
    data = dataset(np.array(labels))
    return Inputs(data, features, rows, "f", [], 0, spill, content=np.array(content))


def _rows(*rows: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


SPLIT = Split(
    names=["a", "b"],
    train=[_rows(0, 1), _rows(4, 5)],
    held_out=[_rows(2, 3), _rows(6, 7)],
    test=_rows(8, 9, 10),
    unseen=_rows(11),
)
#           a train   held    b train   held    test         unseen
CONTENT = [10, 11, 10, 12, 13, 14, 11, 15, 13, 15, 16, 14]
LABELS = [0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1]


def test_what_is_scored_does_not_lie_in_any_clients_training_rows() -> None:
    config = RunConfig(holdout_site="far")
    found = without_duplicates(config, _inputs(LABELS, CONTENT), SPLIT)
    # 2 is a's own training row 0; 6 is a's training row 1, though b holds it out.
    assert [rows.tolist() for rows in found.split.held_out] == [[3], [7]]
    # 8 is b's training row 4, of another label; 9 is b's held-out row 7.
    assert found.split.test.tolist() == [10]
    assert found.split.unseen.tolist() == []
    assert [rows.tolist() for rows in found.split.train] == [[0, 1], [4, 5]]
    lines = [(row["file"], row["equals"], row["two_labels"], row["done"]) for row in found.listed]
    out = "left out of scores"
    assert lines == [
        ("2", "0", "no", out),
        ("6", "1", "no", out),
        ("8", "4", "yes", out),
        ("11", "5", "no", out),
        ("9", "7", "no", out),
    ]
    assert found.listed[1]["lies"] == "b, held out"
    assert found.listed[1]["which_lies"] == "a, training"
    assert found.listed[2]["lies"] == "test"
    assert "2 in the test part and 2 held out by clients and 1 at far equal" in found.told
    assert "1 of the contents carries two labels" in found.told


def test_kept_duplicates_are_named_all_the_same() -> None:
    config = RunConfig(duplicates="keep", holdout_site="far")
    found = without_duplicates(config, _inputs(LABELS, CONTENT), SPLIT)
    assert found.split is SPLIT
    assert {row["done"] for row in found.listed} == {"kept"}
    assert len(found.listed) == 5
    assert "scored all the same" in found.told


def test_training_rows_are_told_if_two_clients_have_them_or_they_have_two_labels() -> None:
    split = Split(
        ["a", "b"], [_rows(0, 1, 2, 3), _rows(4, 5)], [_rows(), _rows()], _rows(), _rows()
    )
    #  0 = 1 of one client and label: neither listed nor told; 2 = 3 of two labels; 0 = 4 of two
    found = without_duplicates(RunConfig(), _inputs([0, 0, 0, 1, 0, 1], [1, 1, 2, 2, 1, 3]), split)
    assert [(row["file"], row["equals"]) for row in found.listed] == [("4", "0"), ("3", "2")]
    assert [row["two_labels"] for row in found.listed] == ["no", "yes"]
    assert [rows.tolist() for rows in found.split.train] == [[0, 1, 2, 3], [4, 5]]
    assert "1 equals an example that lies elsewhere" in found.told


def test_without_copies_nothing_happens() -> None:
    found = without_duplicates(RunConfig(), _inputs(LABELS, list(range(12))), SPLIT)
    assert (found.split, found.listed, found.told) == (SPLIT, [], "")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings of which 12 test rows are copies of training rows, two under another label."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 300)
    x = (rng.normal(size=(300, 5)) + 2 * y[:, None]).astype(np.float32)
    x[250:262] = x[:12]
    y[250:260] = y[:10]
    y[260:262] = 1 - y[10:12]
    path = tmp_path_factory.mktemp("data") / "copies.npz"
    np.savez(path, x=x, y=y, test=np.arange(300) >= 240)
    return path


def _flags(features: Path, out: Path) -> list[object]:
    return ["--data", f"features:{features}", "--clients", 3, "--engine", "inline", "--out", out]


@pytest.mark.parametrize(("choice", "scored"), [("drop", 48), ("keep", 60)])
def test_a_run_leaves_them_out_and_says_so(
    features: Path, tmp_path: Path, choice: str, scored: int
) -> None:
    out = tmp_path / "run"
    flags = [*_flags(features, out), "--strategy", "fed3r", "--duplicates", choice]
    end = finished(simulate.main, *flags)
    assert end.exit_code == 0, end.stderr
    warned = [line for line in end.stderr.splitlines() if line.startswith("warning: duplicates")]
    assert len(warned) == 1
    assert "12 in the test part" in warned[0]
    assert "2 of the contents carry two labels" in warned[0]
    assert (
        f"({scored} examples)"
        in json.loads((out / "summary.json").read_text())["on_new_data"]["scored_on"]
    )
    with (out / "duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["two_labels"] for row in rows].count("yes") == 2
    assert {row["file"] for row in rows} == {str(row) for row in range(250, 262)}


def test_the_test_part_of_a_comparison_is_the_same_for_all_seeds(
    features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all"
    flags = [*_flags(features, out), "--strategies", "fed3r,fedncm", "--seeds", 3]
    end = finished(compare.main, *flags)
    assert end.exit_code == 0, end.stderr
    cells = [json.loads(path.read_text()) for path in (out / "cells").glob("*.json")]
    assert len(cells) == 6
    assert {cell["new_data"]["federated"]["examples"] for cell in cells} == {48}
    with (out / "duplicates.csv").open() as file:
        assert {row["clients"] for row in csv.DictReader(file)} == {"seed=0", "seed=1", "seed=2"}
