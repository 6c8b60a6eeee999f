"""Files that are not read: counted, listed, and classes and sites that they empty named."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from in_process import finished
from opened_data import opened, png
from PIL import Image

from fedtl import simulate
from fedtl.data.emptied import note_of

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
DCM = bytes(128) + b"DICM" + bytes(99)


def write(root: Path, *names: str, content: bytes | None = None) -> Path:
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(shade) if content is None else content)
    return root


def sites(root: Path, *names: str) -> Path:
    return write(root, *(f"{site}/{c}/{n}.png" for site in names for c in "ab" for n in range(2)))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("suffix", "content", "told"),
    [
        (".HEIC", HEIC, ".heic (3); class cross has none left; 3 .heic files: pip install "
         "'fedtl[heic]'"),
        (".dcm", DCM, ".dcm (3); class cross has none left; 3 .dcm files: pip install "
         "'fedtl[dicom]'"),
        ("", DCM, ".dcm (3); class cross has none left; 3 .dcm files: pip install 'fedtl[dicom]'"),
        (".xyz", b"text", ".xyz (3); class cross has none left"),
        (".0001", b"text", "without suffix (3); class cross has none left"),
        (".pdf", b"%PDF", ".pdf (3); class cross has none left"),
    ],
)  # fmt: skip
def test_a_class_of_other_files_is_named(
    suffix: str, content: bytes, told: str, tmp_path: Path
) -> None:
    write(tmp_path, "disc/1.png", "disc/2.png", "frame/1.png", "frame/2.png")
    write(tmp_path, *(f"cross/IMG_{n}{suffix}" for n in range(3)), content=content)
    data = opened(tmp_path)
    assert data.classes == ("disc", "frame")
    assert note_of(data) == f"3 files left aside: {told}"
    assert [each.path for each in data.left_aside] == [f"cross/IMG_{n}{suffix}" for n in range(3)]


def test_an_empty_class_and_an_emptied_site_are_named(tmp_path: Path) -> None:
    sites(tmp_path, "york", "bern")
    (tmp_path / "york" / "c").mkdir()
    write(tmp_path, "ulm/a/1.svg", "ulm/b/2.svg", content=b"<svg>")
    data = opened(tmp_path)
    assert note_of(data) == "2 files left aside: .svg (2); class c, site ulm have none left"
    assert "ulm" not in note_of(data, named=False)
    assert note_of(data, named=False).endswith("class c, 1 site have none left")


def test_files_of_systems_and_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/.3.png", ".git/x/4.png")
    write(tmp_path, "a/Thumbs.db", "a/._1.png", "b/.DS_Store", "__MACOSX/a/._2.png", ".git/HEAD")
    data = opened(tmp_path)
    assert list(data.keys) == ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]
    assert note_of(data) == "2 files left aside: hidden (2)"


def test_whatever_pillow_decodes_is_read(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8), (200, 10, 10))
    named = ["1.png", "2.sgi", "3.pcx", "4.jpe", "5.jp2", "6.dds", "7.qoi", "8.tga"]
    for name in named:
        for label in "ab":
            (tmp_path / label).mkdir(exist_ok=True)
            picture.save(tmp_path / label / name)
    (tmp_path / "a" / "IMG 9").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    (tmp_path / "a" / "scan.0001").write_bytes((tmp_path / "a" / "4.jpe").read_bytes())
    write(tmp_path, "a/page.ps", "a/page.eps", content=b"%!PS-Adobe-3.0 EPSF-3.0\n")
    data = opened(tmp_path)
    assert list(data.keys) == [
        *(f"a/{name}" for name in named), "a/IMG 9", "a/scan.0001", *(f"b/{n}" for n in named)
    ]  # fmt: skip
    assert sorted(each.path for each in data.left_aside) == ["a/page.eps", "a/page.ps"]
    for row in range(len(data)):
        assert data.inputs.load(row).shape == (8, 8, 3)  # type: ignore[union-attr]


def test_a_run_lists_them_and_goes_on(tmp_path: Path) -> None:
    root = sites(tmp_path / "data", "york", "bern")
    write(root, "york/a/notes.txt", "york/a/more.txt", content=b"x")
    (root / "york" / "c").mkdir()
    write(root, "york/c/1.png", content=b"no picture")
    out = tmp_path / "run"
    flags = ["--data", root, "--partition", "iid", "--clients", 2, "--strategy", "fed3r"]
    flags += ["--test-fraction", 0, "--engine", "inline", "--no-cache", "--out", out]
    end = finished(simulate.main, *flags)
    assert end.exit_code == 2, end.stderr  # class c, for now, has a single image
    write(root, "york/c/2.png", content=b"no picture")
    end = finished(simulate.main, *flags)
    assert end.exit_code == 0, end.stderr
    warnings = [line for line in end.stderr.splitlines() if line.startswith("warning: ")]
    assert "warning: 2 files left aside: .txt (2)" in warnings
    [undecoded] = [line for line in warnings if "could not be decoded" in line]
    assert "(2 × no known image format); class c has none left" in undecoded
    with (out / "unreadable.csv").open() as file:
        listed = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    assert listed.keys() == {
        "york/c/1.png", "york/c/2.png", "york/a/more.txt", "york/a/notes.txt"
    }  # fmt: skip


def test_reasons_are_told_and_kept_although_the_run_fails(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = [f"{c}/{n}.png" for c in "ab" for n in range(3)]
    write(root, *names[:4], content=b"no picture")
    write(root, *names[4:], content=png()[:45])
    out = tmp_path / "run"
    end = finished(
        simulate.main, "--data", root, "--engine", "inline", "--no-cache", "--out", out,
        "--clients", 2, "--partition", "iid",
    )  # fmt: skip
    assert end.exit_code == 1
    assert "none of its 6 images can be decoded: 4 × no known image format, 2 × " in end.stderr
    with (out / "unreadable.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == names
    assert [path.name for path in out.iterdir()] == ["unreadable.csv"]
