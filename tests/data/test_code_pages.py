"""Archives whose member names do not say their code page, as many an archiver writes them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from opened_data import opened, png

from fedtl.data.code_pages import decoded_names
from fedtl.data.dataset import Dataset

CLASSES = {
    "cp437": "gemüse möhre größe",
    "cp850": "ação irmão",
    "cp1252": "café crème straße",
    "cp866": "опухоль норма",
    "cp1251": "Опухоль норма",
    "gbk": "肺癌 正常 良性",
    "cp932": "ネコ科 イヌ科 表示",
    "cp949": "고양이 강아지",
    "big5": "貓咪 腫瘤",
}


def zipped_raw(path: Path, names: list[bytes]) -> Path:
    """Write pictures under names of any bytes, without the mark of UTF-8."""
    stand_ins = [f"{number:0{len(name)}d}" for number, name in enumerate(names)]
    with zipfile.ZipFile(path, "w") as archive:
        for shade, stand_in in enumerate(stand_ins):
            archive.writestr(stand_in, png(shade))
    content = bytearray(path.read_bytes())
    for mark, header in ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46)):
        at = 0
        for name, stand_in in zip(names, stand_ins, strict=True):
            at = content.index(mark, at)
            start = at + header
            assert content[start : start + len(name)] == stand_in.encode()
            content[start : start + len(name)] = name
            at = start
    path.write_bytes(content)
    return path


def tarred_raw(path: Path, names: list[bytes], page: str) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding=page) as archive:
        for shade, name in enumerate(names):
            info = tarfile.TarInfo(name.decode(page))
            info.size = len(png(shade))
            archive.addfile(info, io.BytesIO(png(shade)))
    return path


def check(data: Dataset, page: str) -> None:
    assert set(data.classes) == set(CLASSES[page].split())
    assert sorted(data.inputs.load(row)[0, 0, 0] for row in range(len(data))) == list(  # type: ignore[union-attr]
        range(len(data))
    )
    [note] = data.notes
    assert f"do not say their code page and are read as {page}, such as" in note


@pytest.mark.parametrize("page", CLASSES)
def test_names_in_code_pages(page: str, tmp_path: Path) -> None:
    names = [f"{c}/{n}.png".encode(page) for c in CLASSES[page].split() for n in range(2)]
    check(opened(zipped_raw(tmp_path / "a.zip", names)), page)
    if page != "cp932":  # backslashes within letters are what tells there
        check(opened(tarred_raw(tmp_path / "a.tar", names, page)), page)


@pytest.mark.parametrize("names", [["straße/1.png", "文件夹/2.png"], ["ant/1.png", "bee/1.png"]])
def test_names_that_can_be_in_utf8_are(names: list[str]) -> None:
    assert decoded_names([name.encode() for name in names]) == (names, "")


def test_names_that_are_in_no_code_page_are_read_all_the_same() -> None:
    names, page = decoded_names([bytes(range(128, 256)), b"ant/1.png"])
    assert page == "cp437" and names[1] == "ant/1.png" and len(names[0]) == 128


def test_half_of_a_letter_is_no_backslash() -> None:
    names = ["表示/1.png", "予定/2.png"]
    assert b"\\" in names[0].encode("cp932")
    assert decoded_names([name.encode("cp932") for name in names]) == (names, "cp932")
