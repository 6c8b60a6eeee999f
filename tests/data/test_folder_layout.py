"""Levels of folders, patterns of names and label tables: what says class, site, group, split."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.group_pattern import GroupPattern, groups_hint
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def _png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (2, 2), shade % 256).save(content, "PNG")
    return content.getvalue()


def _write(root: Path, names: Sequence[str], **more: str) -> Path:
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_png(shade))
    for name, text in more.items():
        (root / f"{name}.csv").write_text(text)
    return root


def _open(path: Path, **reading: str) -> Dataset:
    return open_dataset(RunConfig(data=str(path), **reading))


def _of(data: Dataset, key: str) -> tuple[str, str | None, str | None, bool]:
    """Return class, site, group and whether it is a test row, of one file."""
    row = list(data.keys).index(key)
    site = None if data.sites is None else str(data.sites[row])
    group = None if data.groups is None else str(data.groups[row])
    return data.classes[data.labels[row]], site, group, bool(data.test[row])


_PATIENTS = [f"{c}/patient_{4 * (c == 'ill') + n:02d}/{f}.png" for c in ("ill", "well")
             for n in range(4) for f in "ab"]  # fmt: skip
_NUMBERED = [name.replace("patient_", "X") for name in _PATIENTS]


@pytest.mark.parametrize(
    ("names", "reading", "key", "expected"),
    [
        (_PATIENTS, {}, "ill/patient_04/a.png", ("ill", None, "patient_04", False)),
        (_NUMBERED, {}, "ill/X04/a.png", ("ill", None, "X04", False)),
        (_NUMBERED, {"top_level": "class"}, "ill/X04/a.png", ("ill", None, "X04", False)),
        (
            [f"patient_{n}/{c}/{f}.png" for n in range(4) for c in ("ill", "well") for f in "ab"],
            {},
            "patient_2/ill/a.png",
            ("ill", "patient_2", None, False),
        ),
        (
            [f"patient_{n}/{c}/{f}.png" for n in range(4) for c in ("ill", "well") for f in "ab"],
            {"top_level": "group"},
            "patient_2/ill/a.png",
            ("ill", None, "patient_2", False),
        ),
        (
            [f"patient_{n}/{c}/{f}.png" for n in range(4) for c in ("ill", "well") for f in "ab"],
            {"group_from": "patient_*"},
            "patient_2/ill/a.png",
            ("ill", None, "patient_2", False),
        ),
        # Hospitals number their own patients: 1 at the one is not 1 at the other.
        (
            [f"{s}/patient_{n}/{c}/a.png" for s in "xy" for n in range(3) for c in ("ill", "well")],
            {},
            "y/patient_2/ill/a.png",
            ("ill", "y", "y/patient_2", False),
        ),
        (
            [f"{s}/{c}/patient_{n}/a.png" for s in "xy" for n in range(3) for c in ("ill", "well")],
            {},
            "y/ill/patient_2/a.png",
            ("ill", "y", "y/patient_2", False),
        ),
        # No word tells, but the folders of one level lie in one folder each.
        (
            [f"{s}/{s}{n}/{c}/a.png" for s in "xy" for n in range(3) for c in ("ill", "well")],
            {},
            "y/y2/ill/a.png",
            ("ill", "y", "y/y2", False),
        ),
        (
            [f"{s}/{c}/{s}{c}{n}/a.png" for s in "xy" for n in range(3) for c in ("ill", "well")],
            {},
            "y/ill/yill2/a.png",
            ("ill", "y", "y/yill2", False),
        ),
        (
            [f"{s}/{c}/case{n}{s}/a.png".replace(f"{n}{s}", str(n + 5 * (s == "test")))
             for s in ("train", "test") for n in range(3) for c in ("ill", "well")],
            {},
            "test/ill/case6/a.png",
            ("ill", None, "case6", True),
        ),
        (
            [f"{c}/P{n:02d}-{f}.png" for c in ("ill", "well") for n in range(4) for f in range(3)],
            {"group_from": "P*-*"},
            "ill/P03-1.png",
            ("ill", None, "03", False),
        ),
        (
            [f"{c}/P{n}{f}.png" for c in ("ill", "well") for n in range(4) for f in "ab"],
            {"group_from": "(P?)*"},
            "ill/P3a.png",
            ("ill", None, "P3", False),
        ),
        (
            [f"{s}/{c}/p{n}_{f}.png" for s in "xy" for c in "iw" for n in range(4) for f in "ab"],
            {"group_from": "(*/*/p*)_*"},
            "x/i/p3_a.png",
            ("i", "x", "x/i/p3", False),
        ),
    ],
)  # fmt: skip
def test_levels(
    names: list[str],
    reading: dict[str, str],
    key: str,
    expected: tuple[str, str | None, str | None, bool],
    tmp_path: Path,
) -> None:
    data = _open(_write(tmp_path / "data", names), **reading)
    assert _of(data, key) == expected
    assert len(data.classes) == 2


def test_a_guess_is_told_with_the_option_that_settles_it(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", _NUMBERED)
    [note] = _open(folder).notes
    assert "--layout class/group settles that" in note
    assert _open(folder, top_level="class").notes == ()
    assert _open(folder, layout="class/group").notes == ()
    data = _open(folder, top_level="site")
    assert data.sites is not None
    assert len(data.classes) == 8
    assert data.groups is None


@pytest.mark.parametrize(
    ("names", "reading", "complaint"),
    [
        (_PATIENTS, {"group_from": "subject_*"}, "does not match any of 16 files"),
        (_PATIENTS, {"group_from": "patient_00"}, "does not match 14 of 16 files, first ill/pat"),
        (_PATIENTS, {"group_from": "(*/*)/*"}, None),
        (_PATIENTS, {"group_from": "(*/*/*)"}, "a group of its own for every file"),
        (["i/p_1.png", "i/p_2.png", "w/p_3.png"], {"group_from": "(p)_*"}, "one group for all"),
        (_PATIENTS, {"group_from": "(a)(b)"}, "one pair of parentheses"),
        (_PATIENTS, {"top_level": "split"}, "splits are called"),
        (["i/1.png", "w/1.png"], {"top_level": "group"}, "have one level"),
        ([f"x/{n}" for n in _PATIENTS] + [f"y/{n}" for n in _PATIENTS], {"top_level": "group"},
         "have 3 levels"),
        ([f"{s}/{m}/{b}/1.png" for s in "xy" for m in "pq" for b in "rs"], {}, "is not clear"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(
    names: list[str], reading: dict[str, str], complaint: str | None, tmp_path: Path
) -> None:
    folder = _write(tmp_path / "data", names)
    if complaint is None:
        assert _open(folder, **reading).groups is not None
        return
    with pytest.raises(UsageError, match=complaint):
        _open(folder, **reading)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"{c}/patient_{n:03d}_{f}.png" for c in "iw" for n in range(5) for f in range(3)],
         "--group-from 'patient_*_*'"),
        ([f"{c}/P{n:02d}-{f:02d}.jpg" for c in "iw" for n in range(5) for f in range(3)],
         "--group-from '*-*'"),
        ([f"{c}/scan_{n}_{f}.png" for c in "iw" for n in range(5) for f in ("left", "right")],
         "--group-from 'scan_*_*'"),
        ([f"{c}/patient_{n}.png" for c in "iw" for n in range(5)], "--group-from 'patient_*'"),
        ([f"patient_{n}/{c}/{f}.png" for c in "iw" for n in range(5) for f in range(3)],
         "--top-level group"),
        ([f"{c}/person{n}_virus_{f}.png" for c in "iw" for n in range(5) for f in range(3)],
         "--group-from 'person*_*'"),
        ([f"{c}/{c}NV-{n + 1016042}-{f}.png" for c in "iw" for n in range(5) for f in range(3)],
         "--group-from '*-(*)-*'"),
        ([f"patient_{n:03d}_node_{k}/{c}/{f}.png" for n in range(5) for k in "01" for c in "iw"
          for f in range(2)], "--group-from '(patient_*)_*'"),
        ([f"{c}/img_{n:04d}.png" for c in "iw" for n in range(30)], ""),
        ([f"{c}/{n:02d}.png" for c in "iw" for n in range(30)], ""),
        ([f"{c}/{c}_{n}.png" for c in ("class1", "class2") for n in range(30)], ""),
        ([f"{c}/{n}_{c}.png" for c in ("ant", "bee") for n in range(30)], ""),
        ([f"{c}/{n * 7919}_{n * 104729:x}.png" for c in "iw" for n in range(30)], ""),
    ],
)  # fmt: skip
def test_names_that_suggest_groups_are_told_once(
    names: list[str], said: str, tmp_path: Path
) -> None:
    folder = _write(tmp_path / "data", names)
    hint = groups_hint(_open(folder), natural=False)
    assert (said in hint) if said else hint == ""
    if said:
        option = hint.rpartition("--group-from '")[2].partition("'")[0]
        # What is suggested works, and then there is nothing to tell.
        data = _open(folder, group_from=option)
        assert groups_hint(data, natural=False) == ""
        assert data.groups is not None
        assert len(set(data.groups)) == 5
        hidden = groups_hint(_open(folder), natural=False, named=False)
        assert said in hidden and ", as the" not in hidden


def test_sites_that_are_patients_are_meant_to_be_if_each_is_a_client(tmp_path: Path) -> None:
    names = [f"patient_{n}/{c}/{f}.png" for c in "iw" for n in range(5) for f in range(3)]
    assert groups_hint(_open(_write(tmp_path / "data", names)), natural=True) == ""


@pytest.mark.parametrize("name", ["pacs_128", "ants_bees"])
def test_real_archives_without_groups_suggest_none(name: str) -> None:
    if not (SHARED / f"{name}.zip").exists():
        pytest.skip(f"{name}.zip is not beside the repository")
    assert groups_hint(_open(SHARED / f"{name}.zip"), natural=False) == ""


def test_a_real_archive_of_patients() -> None:
    if not (SHARED / "malaria.zip").exists():
        pytest.skip("malaria.zip is not beside the repository")
    data = _open(SHARED / "malaria.zip", top_level="group")
    assert data.groups is not None
    assert (len(set(data.groups)), data.sites, data.classes) == (
        200,
        None,
        ("parasitized", "uninfected"),
    )


def test_a_pattern_prefers_outer_folders() -> None:
    found = GroupPattern("p*").find(("p1", "p2"), "p3.png")
    assert found == ("p1", 0)
    assert GroupPattern("x*").find(("p1", "p2"), "x3.png") == ("3", 2)
    assert GroupPattern("q*").find(("p1",), "x.png") is None


# Tables of labels

_FILES = ["img/a1.png", "img/a2.png", "img/b1.png", "img/b2.png", "more/c.png"]
_TABLE = """file,label,site,group,split
img/a1.png,ant,x,g1,train
a2.png,ant,x,g3,train
b1,bee,y,g2,train
img/b2.png,bee,y,,test
"""


@pytest.mark.parametrize("zipped", [False, True])
def test_a_table_gives_labels_sites_groups_and_split(tmp_path: Path, zipped: bool) -> None:
    folder = _write(tmp_path / "data", _FILES, labels=_TABLE)
    if zipped:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in sorted(folder.rglob("*.*")):
                archive.write(path, f"{path.relative_to(folder)}")
        folder = tmp_path / "data.zip"
    data = _open(folder, labels="labels.csv")
    assert list(data.keys) == _FILES[:4]
    assert [_of(data, key) for key in data.keys] == [
        ("ant", "x", "g1", False),
        ("ant", "x", "g3", False),
        ("bee", "y", "g2", False),
        ("bee", "y", "file img/b2.png", True),
    ]
    assert not isinstance(data.inputs, np.ndarray)
    assert data.inputs.load(2)[0, 0, 0] == 2
    assert [note.split(",")[0] for note in data.notes] == [
        "1 images have no line in labels.csv and are left aside",
        "1 images have no group in labels.csv; each stands for itself",
    ]


def test_a_table_elsewhere_with_semicolons_and_names_from_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(tmp_path / "data", [f"p{n}_{f}.png" for n in range(3) for f in "ab"])
    lines = [f"p{n}_{f}.png;{'even' if n % 2 else 'odd'}" for n in range(3) for f in "ab"]
    (tmp_path / "t.csv").write_text("File;Label\n" + "\n".join(lines) + "\n\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="class even has a single group"):
        _open(folder, labels="t.csv", group_from="p*_*")
    assert _open(folder, labels="t.csv").classes == ("even", "odd")


def test_lines_without_files_and_files_named_again_are_counted(tmp_path: Path) -> None:
    table = "file,label\na1.png,ant\na2.png,ant\nb1.png,bee\nb2.png,bee\nc.png,bee\n"
    table += "nowhere.png,ant\nelsewhere.png,ant\nimg/a1.png,ant\n"
    data = _open(_write(tmp_path / "data", _FILES, labels=table), labels="labels.csv")
    first, second = data.notes
    assert first.startswith("2 lines of labels.csv name files that are not there")
    assert "first nowhere.png in line 7" in first
    assert second.startswith("1 lines of labels.csv name a file again")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("name,label\na1.png,ant\n", "has no column file; its columns are name, label"),
        ("file,label\n", "has no lines below its header"),
        ("file,label\na1.png,\n", "line 2 has no label"),
        ("file,label\na1.png,ant\na1.png,bee\n", "is ant in line 2 and bee in line 3"),
        ("file,label\nzz.png,ant\n", "names none of the 5 images"),
        ("file,label,split\na1.png,ant,later\n", "line 2 has split later"),
    ],
)
def test_tables_that_cannot_be_used(table: str, complaint: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", _FILES, labels=table)
    with pytest.raises(UsageError, match=complaint):
        _open(folder, labels="labels.csv")
    with pytest.raises(UsageError, match="there is no such file in"):
        _open(folder, labels="nowhere.csv")
