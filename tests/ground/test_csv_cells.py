"""Cells that a spreadsheet would run: marked as text in every CSV, numbers left alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import finished

from fedtl import predict, simulate
from fedtl.csv_cells import csv_table, read_table, safe_cell

pytestmark = pytest.mark.usefixtures("undrawn")

FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-cat", "=-1"]
NUMBERS = ["-0.5", "+3", "-1e-05", "-.5", "-12", "-inf", "0.1", "1", ""]
KINDS = ("clients", "duplicates", "egress", "predictions", "pseudonyms")
SIGNS = tuple("=+-@\t\r\n＝＋－＠")


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_is_marked_as_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [*NUMBERS, "a=1", "'quoted'", -0.5, -3, None, np.float64(-2)])
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert safe_cell(value) is value


@given(st.lists(st.text("=+-@\t\r\n'\",;a1 ", max_size=6), min_size=1))
def test_reading_gives_what_was_written(cells: list[str]) -> None:
    text = csv_table(["cell"], [{"cell": cell} for cell in ["x", *cells]])
    assert [row["cell"] for row in read_table(text)][1:] == cells


def test_no_csv_of_a_run_has_a_cell_that_runs(tmp_path: Path) -> None:
    y = np.arange(60) % 3
    x = (np.random.default_rng(0).normal(size=(60, 4)) + np.eye(3, 4)[y]).astype(np.float32)
    classes = np.array(["=cmd|'/c calc'!A1", "-cat", "@dog"])
    sites = np.array(["=HYPERLINK(1)", "+plus", "-minus"])
    data = tmp_path / "features.npz"
    # A row at two sites, so that duplicates are listed, too.
    x[21] = x[0]
    np.savez(data, x=x, y=classes[y], site=sites[np.arange(60) // 20])
    run = tmp_path / "run"
    flags = ["--data", f"features:{data}", "--partition", "natural", "--engine", "inline"]
    flags += ["--rounds", 1, "--test-fraction", 0, "--quiet", "--out", run, "--pseudonyms"]
    flags += ["--holdout-site", "-minus"]
    assert finished(simulate.main, *flags).exit_code == 0
    end = finished(predict.main, run, f"features:{data}", "--csv", run / "predictions.csv")
    assert end.exit_code == 0, end.stderr
    files = sorted(path.name for path in run.glob("*.csv"))
    assert files == [f"{kind}.csv" for kind in KINDS]
    negative = 0
    for name in files:
        for row in csv.reader(io.StringIO((run / name).read_bytes().decode(), newline="")):
            for cell in row:
                if cell.startswith(SIGNS):
                    float(cell)
                    negative += 1
    assert negative, "a loss is a number, and stays one"
    assert "'=HYPERLINK(1)" in (run / "pseudonyms.csv").read_text()
    assert "'-cat" in (run / "predictions.csv").read_text()
