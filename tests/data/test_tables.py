"""Tables of texts: every format, columns by name or as told, and what people get wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import TEXT, kind_of
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError

REVIEWS = Path(__file__).parents[3] / "shared" / "data" / "reviews_3_sites.csv"
ROWS = [
    {"hospital": site, "note": f'{word}, said "{place}"\nand left', "dx": label, "n": str(place)}
    for place, (site, word, label) in enumerate(
        (site, word, label)
        for site in ("north", "south")
        for word, label in (("Fine", "well"), ("Çok kötü", "ill"), ("so so", "ill"), ("ok", "well"))
    )
]
SAID = {"text-column": "note", "label-column": "dx"}


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix in (".jsonl", ".ndjson"):
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    elif path.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        delimiter = {".tsv": "\t", ".csv": ";"}[path.suffix]
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return path


def _open(path: Path, **options: str) -> Dataset:
    given = {key.replace("_", "-"): value for key, value in options.items()}
    return open_dataset(RunConfig(data=str(path), options=tuple(sorted((SAID | given).items()))))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_format_gives_the_same_data(suffix: str, tmp_path: Path) -> None:
    found = _open(_write(tmp_path / f"notes.{suffix}", ROWS))
    assert kind_of(found.inputs) == TEXT
    assert not isinstance(found.inputs, np.ndarray)
    assert [found.inputs.load(at) for at in range(8)] == [row["note"] for row in ROWS]
    assert [found.classes[label] for label in found.labels] == [row["dx"] for row in ROWS]
    assert found.sites is not None
    assert found.sites.tolist() == [row["hospital"] for row in ROWS]
    assert found.unit == "text"
    assert found.notes == (
        f"notes.{suffix}: note as text, dx as label, hospital as site; not used: n",
    )


def test_columns_are_found_by_their_names_and_a_split_is_followed(tmp_path: Path) -> None:
    rows = [
        {"Text": f"t{k}", "Label": "ab"[k % 2], "Patient ID": f"p{k // 2}", "split": split}
        for k, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 4)
    ]
    path = _write(tmp_path / "t.csv", rows)
    found = open_dataset(RunConfig(data=str(path)))
    assert found.groups is not None
    assert found.groups.tolist() == [row["Patient ID"] for row in rows]
    assert np.flatnonzero(found.test).tolist() == [8, 9, 10, 11]
    assert found.sites is None
    without = RunConfig(data=str(path), options=(("split-column", "none"),))
    assert not open_dataset(without).test.any()


def test_rows_that_lack_something_are_left_aside_and_told(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[1]["note"], rows[3]["dx"], rows[6]["hospital"] = "  ", "", ""
    found = _open(_write(tmp_path / "gaps.csv", rows))
    assert len(found) == 5
    assert found.keys == ["row 1", "row 3", "row 5", "row 6", "row 8"]
    assert [(one.path, one.kind) for one in found.left_aside] == [
        ("row 2", "without text"),
        ("row 4", "without label"),
        ("row 7", "without site"),
    ]
    assert "3 rows of gaps.csv are left aside" in found.notes[1]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_gaps_do_not_turn_classes_into_fractions(suffix: str, tmp_path: Path) -> None:
    rows = [{"text": f" t{k}", "label": None if k == 2 else k % 2} for k in range(6)]
    rows.append({"text": "  ", "label": 1})
    found = open_dataset(RunConfig(data=str(_write(tmp_path / f"g.{suffix}", rows))))
    assert found.classes == ("0", "1")
    assert [one.path for one in found.left_aside] == ["row 3", "row 7"]


def test_numbers_as_labels_are_classes_whatever_the_format(tmp_path: Path) -> None:
    rows = [{"text": f"t{k}", "label": k % 2} for k in range(6)]
    for suffix in ("csv", "jsonl", "parquet"):
        path = _write(tmp_path / f"n.{suffix}", rows)
        assert open_dataset(RunConfig(data=str(path))).classes == ("0", "1")


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("text,label\n", {}, "has no rows"),
        ("", {}, "is an empty file"),
        (
            "text,label\n" + "".join(f"t,{k / 2}\n" for k in range(20)),
            {},
            r"has 20 different numbers in 20 rows, and.*make ranges",
        ),
        (
            "text,y1,y2\na,b,c\n",
            {},
            r"which column is the label \(none is called so\).*Say --label",
        ),
        ("text,label,class\na,b,c\n", {"text": "text"}, "at least two classes|which column"),
        ("a,label\nx,y\n", {}, "at least two classes"),
        ("text,text,label\na,b,c\n", {}, "several columns called 'text'"),
        ("text,label\na,b,c\nd\n", {}, "no sound table"),
        ("text,label\na,b\n", {"text": "txet"}, "no column 'txet'.*did you mean 'text'"),
        (
            "text,label\na,b\n",
            {"label": "text", "text": "text"},
            "cannot be text and label",
        ),
        ("text,label,split\na,b,train\nc,d,monday\n", {}, "split 'monday'.*--split-column none"),
        ("text,label\n,\n,\n", {}, "no row has text and label"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    content: str, options: dict[str, str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(content)
    given = tuple((f"{what}-column", name) for what, name in options.items())
    with pytest.raises(UsageError, match=told):
        open_dataset(RunConfig(data=str(tmp_path / "t.csv"), options=given))


def test_many_numbers_of_many_rows_each_are_classes(tmp_path: Path) -> None:
    few = [{"text": f"t{k}", "label": [10, 20, 35][k % 3]} for k in range(6)]
    doses = _write(tmp_path / "few.csv", few)
    assert open_dataset(RunConfig(data=str(doses))).classes == ("10", "20", "35")
    rows = [{"text": f"t{k}", "label": 30 + k % 20} for k in range(400)]
    path = _write(tmp_path / "n.csv", rows)
    assert len(open_dataset(RunConfig(data=str(path))).classes) == 20
    _write(path, rows[:-1])
    with pytest.raises(UsageError, match="20 different numbers in 399 rows"):
        open_dataset(RunConfig(data=str(path)))
    # Names, and the numbers of classes, are classes of however few rows.
    for named in (lambda label: f"c{label}", lambda label: label - 30, lambda label: label - 29):
        _write(path, [{**row, "label": named(row["label"])} for row in rows[:-1]])
        assert len(open_dataset(RunConfig(data=str(path))).classes) == 20


@pytest.mark.parametrize("text", ["note", "none"])
def test_without_labels_nothing_is_learnt(text: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "notes.csv", ROWS)
    options = {"text-column": text, "label-column": "none"}
    with pytest.raises(UsageError, match=r"needs labels; name the column .*--label-column NAME"):
        open_dataset(RunConfig(data=str(path), options=tuple(options.items())))


def test_foreign_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,a\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8 text"):
        open_dataset(RunConfig(data=str(tmp_path / "latin.csv")))
    (tmp_path / "deep.jsonl").write_text('{"text": ["a"], "label": 1}\n{"text": "b", "label": 2}')
    with pytest.raises(UsageError, match="cells must be text or numbers"):
        open_dataset(RunConfig(data=str(tmp_path / "deep.jsonl")))
    _write(tmp_path / "vectors.parquet", [{"x": [0.5, 1.5], "label": k % 2} for k in range(4)])
    with pytest.raises(UsageError, match=r"embeddings in a Parquet file are --data features:"):
        open_dataset(RunConfig(data=str(tmp_path / "vectors.parquet")))
    (tmp_path / "not.parquet").write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(UsageError, match="no sound Parquet file"):
        open_dataset(RunConfig(data=str(tmp_path / "not.parquet")))
    with pytest.raises(UsageError, match="there is no such file"):
        open_dataset(RunConfig(data=str(tmp_path / "absent.csv")))


def test_folders_of_texts_are_read_like_folders_of_pictures(tmp_path: Path) -> None:
    for site in ("east", "west"):
        for label in ("ham", "spam"):
            folder = tmp_path / "mails" / site / label
            folder.mkdir(parents=True)
            for number in range(3):
                (folder / f"{number}.txt").write_text(f"{label} {number} at {site}")
    (tmp_path / "mails" / "east" / "ham" / "u16.txt").write_bytes("ü".encode("utf-16"))
    found = open_dataset(RunConfig(data=str(tmp_path / "mails")))
    assert (found.unit, len(found), found.classes) == ("text", 13, ("ham", "spam"))
    assert found.sites is not None
    assert set(found.sites.tolist()) == {"east", "west"}
    assert not isinstance(found.inputs, np.ndarray)
    assert found.inputs.load(0) == "ham 0 at east"
    assert found.inputs.load(3) == "ü"


@pytest.mark.skipif(not REVIEWS.exists(), reason="the reviews are not here")
def test_real_reviews() -> None:
    found = open_dataset(RunConfig(data=str(REVIEWS)))
    assert len(found) == 3000
    assert found.classes == ("negative", "positive")
    assert found.sites is not None
    assert dict(zip(*np.unique(found.sites, return_counts=True), strict=True)) == {
        "amazon": 1000,
        "imdb": 1000,
        "yelp": 1000,
    }
    assert found.notes == ()
