"""The commands on rows of tables: describe, agree, simulate, predict, and the page."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Finished, complaint, finished

from fedtl import RunResult, agree, describe, predict, simulate
from fedtl.data.schema_file import read_schema
from fedtl.errors import UsageError
from fedtl.federation.classifier import Classifier
from fedtl.transfer.head_file import read_head

PAINS = ("none", "dull", "sharp")
SITES = ("basel", "bern", "chur")
RUN = ("--engine=inline", "--quiet", "--no-cache", "--partition=natural", "--strategy=fed3r")
TABULAR = ("--backbone=tabular", "--label-column=sick")


def _rows(count: int, seed: int) -> list[dict[str, str]]:
    """Patients whose illness is told by age, a laboratory's value and a kind of pain."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        sick = int(rng.integers(2))
        crp = f"{rng.normal(3 + 2 * sick, 1):.1f}".replace(".", ",")
        rows.append(
            {
                "site": SITES[number % 3],
                "age": str(int(rng.normal(50 + 12 * sick, 9))),
                "crp": "?" if rng.uniform() < 0.2 else crp,
                "pain": str(rng.choice(PAINS, p=[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]][sick])),
                "seen": f"2024-01-{1 + number % 28:02d}",
                "ward": "A",
                "sick": ["no", "yes"][sick],
            }
        )
    return rows


def _written(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(tmp_path_factory.mktemp("ward") / "ward.csv", _rows(240, 0))


@pytest.fixture(scope="module")
def ran(ward: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    out = tmp_path_factory.mktemp("run") / "run"
    end = finished(simulate.main, *RUN, *TABULAR, "--data", ward, "--samples=2", "--out", out)
    assert end.exit_code == 0, end.stderr
    return out, end


def _summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_a_look_at_the_columns(ward: Path) -> None:
    looked = finished(describe.main, "--data", ward, "--label-column=sick")
    assert looked.exit_code == 0, looked.stderr
    lines = looked.stdout.splitlines()
    assert lines[0].startswith("240 rows, 2 classes (no ")
    assert max(map(len, lines[:10])) <= 80
    assert lines[1] == "backbone = tabular, as the data are rows of tables"
    table = {line.split()[0]: line.split() for line in lines[4:9]}
    assert table["age"][1] == "numeric" and table["age"][-1] == "–"
    assert table["crp"][1] == "numeric" and 20 < int(table["crp"][-1]) < 80
    assert table["pain"][1] == "categorical" and "sharp" in table["pain"]
    assert table["seen"][1:4] == ["left", "out", "dates"]
    assert " ".join(table["ward"][1:9]) == "left out the same in all rows –"
    assert "of 240 rows looked at: 4 to 5 of 5 values" in looked.stdout

    told = json.loads(
        finished(describe.main, "--data", ward, "--label-column=sick", "--json").stdout
    )
    pain = next(column for column in told["columns"] if column["name"] == "pain")
    assert sum(pain["categories"].values()) == 240
    assert np.isfinite(told["distances"]["look"]).all()


def test_from_rows_to_predictions(ran: tuple[Path, Finished], ward: Path, tmp_path: Path) -> None:
    out, end = ran
    assert _summary(out)["federated"]["accuracy"] > 0.85
    assert (
        "columns of ward that are no input: seen (dates), ward (the same in all rows)" in end.stderr
    )

    assert "ward: columns that are inputs: of numbers age, crp; of categories pain" in end.stderr
    page = (out / "report.html").read_text()
    assert "<h2>Sample rows</h2>" in page
    assert page.count('<table class="cells">') == 2 * 3 + 2 * 3
    assert "<th scope=row>crp</th><td>" in page

    rows = _rows(40, 1)
    truth = [row.pop("sick") for row in rows]
    rows[0]["pain"], rows[1]["crp"] = "odd", "<0,1"
    rows.append(dict.fromkeys(rows[0], ""))
    new = _written(tmp_path / "new.csv", rows)
    said = finished(predict.main, out, new, "--json")
    assert said.exit_code == 0, said.stderr
    found = json.loads(said.stdout)
    assert [one["row"] for one in found] == [f"new.csv:{k + 1}" for k in range(40)]
    right = [one["predicted"] == label for one, label in zip(found, truth, strict=True)]
    assert np.mean(right) > 0.8
    assert "new.csv:41 cannot be read and is skipped: a row without any value" in said.stderr
    assert "1 of 40 cells of the column 'pain' are categories that the schema does not know" in (
        said.stderr
    )

    assert "cells of the column 'crp' are no numbers and count as gaps, such as '<0,1'" in (
        said.stderr
    )

    # Columns that the run did not have are not looked at.
    more = [
        {**row, "comment": "a", "doubtful": ["1,5", "1,234.5"][place % 2]}
        for place, row in enumerate(_rows(240, 0))
    ]
    more[0]["pain"] = "odd"
    with_more = _written(tmp_path / "more.csv", more)
    scored = finished(predict.main, out, with_more, "--score", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["accuracy"] > 0.85
    assert "1 of 240 cells of the column 'pain' are categories that the schema" in scored.stderr
    assert "are not used" not in scored.stderr
    assert RunResult.load(out).model().classes == ("no", "yes")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("run", "was trained on rows of a table, so it takes a table"),
        ("absent.csv", "does not exist; a table is expected"),
        ("other.csv", "has none of the 3 columns of the run, and thus seems to hold other data"),
        ("few.csv", "has 1 of the 3 columns of the run, and thus seems to hold other data (missin"),
        ("features:x.npz", "was trained on rows, so it takes rows"),
    ],
)
def test_what_is_no_such_table_is_refused(
    given: str, told: str, ran: tuple[Path, Finished], tmp_path: Path
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "few.csv").write_text("age,b\n1,2\n")
    where = {"run": ran[0]}.get(given, given if ":" in given else tmp_path / given)
    assert told in complaint(predict.main, ran[0], where)


def test_sites_agree_on_a_schema_from_sums(ward: Path, tmp_path: Path) -> None:
    """What each site gives of its own table leads to the very head of all rows in one place."""
    rows = list(csv.DictReader(ward.open(), delimiter=";"))
    given = []
    for site in SITES:
        own = _written(tmp_path / f"{site}.csv", [row for row in rows if row["site"] == site])
        given.append(tmp_path / f"{site}.toml")
        flags = ("--data", own, "--label-column=sick", "--site-column=none", "--write-schema")
        end = finished(describe.main, *flags, given[-1], "--ignored-columns=site")
        assert end.exit_code == 0, end.stderr
        assert f"{given[-1]}: sums over 80 rows in 4 columns" in end.stderr
        assert "2024-01" not in given[-1].read_text()
    agreed = tmp_path / "agreed.toml"
    end = finished(agree.main, *given, "--write", agreed)
    assert end.exit_code == 0, end.stderr
    assert "3 columns (2 of numbers, 1 of categories), from 240 rows" in end.stdout
    assert "the same in all rows, so that they are left out: ward" in end.stderr
    assert "not in all files" not in end.stderr
    # People edit these by hand.
    kept = [path.read_bytes() for path in (agreed, given[0])]
    assert f"{agreed} exists already" in complaint(agree.main, *given, "--write", agreed)
    flags = ("--data", ward, "--label-column=sick", "--write-schema", given[0])
    assert f"{given[0]} exists already" in complaint(describe.main, *flags)
    assert [path.read_bytes() for path in (agreed, given[0])] == kept
    text = given[0].read_text().replace("[columns.age]", "[columns.Age]")
    (tmp_path / "other.toml").write_text(text)
    end = finished(agree.main, tmp_path / "other.toml", given[1], "--write", tmp_path / "x")
    assert "at the other sites: Age (1 of 2), age (1 of 2)" in end.stderr

    heads = []
    for name, more in (("found", ()), ("given", ("--table-schema", agreed))):
        flags = (*RUN, *TABULAR, "--data", ward, "--test-fraction=0", "--random-features=30", *more)
        ended = finished(simulate.main, *flags, "--out", tmp_path / name)
        assert ended.exit_code == 0, ended.stderr
        heads.append(read_head(tmp_path / name / "head.safetensors"))
    assert heads[0].schema == heads[1].schema
    assert heads[0].fingerprint == heads[1].fingerprint
    assert heads[0].sha256() == heads[1].sha256()

    # A run at real sites has a head without the schema, which these know.
    out = tmp_path / "given"
    classifier = Classifier.of_run(out)
    without = replace(classifier, trained=replace(classifier.trained, schema=None))
    with pytest.raises(UsageError, match="the file that they share: --table-schema FILE"):
        without.backbone()
    known = without.with_schema(read_schema(agreed))
    assert known.backbone().fingerprint == heads[0].fingerprint
    said = [
        finished(predict.main, out, ward, *flags, "--json")
        for flags in ((), ("--table-schema", agreed))
    ]
    assert said[0].exit_code == 0 and said[0] == said[1]
    text = agreed.read_text()
    agreed.write_text(text.replace("centre = ", "centre = 1"))
    assert "fingerprint" in complaint(predict.main, out, ward, "--table-schema", agreed)
    assert "given twice" in complaint(agree.main, given[0], given[0], "--write", tmp_path / "x")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            (*TABULAR[1:], "--backbone=fedtl-tiny"),
            "holds rows of tables, but backbone = fedtl-tiny takes pictures; choose another: "
            "--backbone tabular",
        ),
        (
            (*TABULAR[1:], "--backbone=wordllama"),
            "--backbone tabular; or name the column of the texts: --text-column NAME",
        ),
        ((*TABULAR, "--text-column=pain"), "read its rows: --text-column none"),
        ((*TABULAR, "--ignored-columns=age,crp,pain"), "there is nothing to learn from"),
    ],
)
def test_what_does_not_fit_is_refused(
    flags: tuple[str, ...], told: str, ward: Path, tmp_path: Path
) -> None:
    assert told in complaint(simulate.main, *RUN, *flags, "--data", ward, "--out", tmp_path / "r")


def test_equal_rows_are_different_examples(tmp_path: Path) -> None:
    rows = [{"a": str(k % 2), "b": str(k % 3), "label": "xy"[k % 2]} for k in range(60)]
    data, out = _written(tmp_path / "t.csv", rows), tmp_path / "run"
    flags = ("--backbone=tabular", "--clients=2", "--partition=iid", "--duplicates=keep")
    end = finished(
        simulate.main, *RUN[:3], *flags, "--data", data, "--strategy=fed3r", "--out", out
    )
    assert end.exit_code == 0, end.stderr
    assert _summary(out)["federated"]["examples"] == 60
    assert not (out / "duplicates.csv").exists()
    assert "duplicates = keep (equal rows of a table are different examples)" in end.stderr


def test_rows_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    rows = _rows(60, 0)
    for row in rows[5:8]:
        row.update(dict.fromkeys(("age", "crp", "pain", "seen", "ward"), "NA"))
    data, out = _written(tmp_path / "t.csv", rows), tmp_path / "run"
    end = finished(simulate.main, *RUN, *TABULAR, "--data", data, "--out", out)
    assert end.exit_code == 0, end.stderr
    listed = list(csv.DictReader((out / "unreadable.csv").open()))
    assert {next(iter(row.values())) for row in listed} == {"row 6", "row 7", "row 8"}
    assert "a row without any value" in end.stderr
