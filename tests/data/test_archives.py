"""Archives: members under the names that archivers write, packed in any way that Python reads."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from opened_data import opened, png

from fedtl.data.dataset import Dataset
from fedtl.data.sources import Reading, images
from fedtl.errors import UnreadableImageError, UsageError

FILES = {f"{c}/{n}.png": png(10 * n) for c in ("ant", "wasp") for n in range(3)}


def zipped(path: Path, names: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, names: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def check(data: Dataset) -> None:
    assert list(data.keys) == sorted(FILES) and data.classes == ("ant", "wasp")
    copy = pickle.loads(pickle.dumps(data.inputs))
    for row, key in enumerate(data.keys):
        for pictures in (data.inputs, copy):
            assert pictures.load(row)[0, 0, 0] == 10 * int(key[-5])


@pytest.mark.parametrize("top", ["./", ".\\", "/./"[1:], "a//"[1:]])
def test_names_with_dots_and_doubled_slashes(top: str, tmp_path: Path) -> None:
    names = {top + name.replace("/", "//"): data for name, data in FILES.items()}
    if not top.startswith("/"):
        check(opened(zipped(tmp_path / "a.zip", names)))
    check(opened(tarred(tmp_path / "a.tar", {f"./{name}": data for name, data in FILES.items()})))


def test_what_macos_adds_is_no_data(tmp_path: Path) -> None:
    extra = {"__MACOSX/ant/._0.png": b"x", "ant/.DS_Store": b"x", "ant/._1.png": b"x"}
    data = opened(zipped(tmp_path / "a.zip", FILES | extra))
    check(data)
    assert data.left_aside == ()


def test_backslashes_and_folders_as_members(tmp_path: Path) -> None:
    names = {"ant\\": b"", "empty\\": b""}
    names |= {name.replace("/", "\\"): data for name, data in FILES.items()}
    data = opened(zipped(tmp_path / "a.zip", names))
    check(data)
    assert [each.path for each in data.left_aside] == ["empty"]


def test_the_unicode_name_beside_another(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in FILES.items():
            info = zipfile.ZipInfo(name.replace("wasp", "w_sp"))
            true = name.replace("wasp", "wäsp").encode()
            body = struct.pack("<BL", 1, zlib.crc32(info.filename.encode())) + true
            info.extra = struct.pack("<HH", 0x7075, len(body)) + body
            archive.writestr(info, data)
    assert opened(tmp_path / "a.zip").classes == ("ant", "wäsp")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_methods_that_python_reads(method: int, tmp_path: Path) -> None:
    check(opened(zipped(tmp_path / "a.zip", FILES, method)))


def test_a_method_that_python_does_not_read_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 10] = 9
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"deflate64 \(ant/0.png\): unpack it"):
        opened(path)


def test_a_zip_of_one_zip_is_looked_through(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", FILES).read_bytes()
    names = {"inner.zip": inner, "__MACOSX/._inner.zip": b"x"}
    check(opened(zipped(tmp_path / "outer.zip", names)))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_tar_archives(kind: str, tmp_path: Path) -> None:
    mode = {"tar": "w", "tgz": "w:gz"}.get(kind, "w:" + kind[4:])
    path = tarred(tmp_path / f"a.{kind}", FILES, mode)
    data = opened(path)
    check(data)
    assert data.name == "a"


def test_a_hard_link_in_a_tar_is_its_file(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {n: d for n, d in FILES.items() if n != "wasp/2.png"})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("wasp/2.png")
        info.type, info.linkname = tarfile.LNKTYPE, "ant/2.png"
        archive.addfile(info)
    check(opened(path))


def symlinked(path: Path) -> Path:
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("ant/1.png")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    else:
        with zipfile.ZipFile(path, "w") as file:
            member = zipfile.ZipInfo("ant/1.png")
            member.external_attr = 0o120777 << 16
            file.writestr(member, "/etc/passwd")
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_links_and_names_that_lead_elsewhere_are_refused(suffix: str, tmp_path: Path) -> None:
    pack = zipped if suffix == "zip" else tarred
    for name, said in [
        ("../ant/9.png", "leads out"),
        ("ant/../../9.png", "leads out"),
        ("/ant/9.png", "absolute name"),
        ("C:\\ant\\9.png", "absolute name"),
    ]:
        with pytest.raises(UsageError, match=said):
            opened(pack(tmp_path / f"a.{suffix}", FILES | {name: png()}))
    with pytest.raises(UsageError, match=r"holds a link \(ant/1.png\)"):
        opened(symlinked(tmp_path / f"link.{suffix}"))


def test_broken_members_are_unreadable_and_the_others_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = FILES | {"ant/noise.png": png() + rng.bytes(2000)}
    path = zipped(tmp_path / "a.zip", names)
    content = bytearray(path.read_bytes())
    at = content.index(b"ant/noise.png") + 400
    content[at : at + 200] = bytes(200)
    path.write_bytes(content)
    data = opened(path)
    row = list(data.keys).index("ant/noise.png")
    with pytest.raises(UnreadableImageError, match="broken zip member"):
        data.inputs.load(row)  # type: ignore[union-attr]
    data.inputs.load(0)  # type: ignore[union-attr]


def test_what_a_member_unpacks_to_is_bounded_by_what_the_archive_says(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES | {"ant/bomb.png": bytes(50_000_000)})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"ant/bomb.png"))
    content[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    data = opened(path)
    with pytest.raises(UnreadableImageError, match="broken zip member"):
        data.inputs.load(list(data.keys).index("ant/bomb.png"))  # type: ignore[union-attr]


def test_archives_cut_short_and_of_other_kinds_are_told(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "a.tgz", FILES | {"ant/n.png": np.random.default_rng(0).bytes(9999)},
                   "w:gz").read_bytes()  # fmt: skip
    (tmp_path / "a.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="damaged"):
        opened(tmp_path / "a.tgz")
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(99))
    with pytest.raises(UsageError, match="a 7-Zip archive: unpack it"):
        opened(tmp_path / "a.7z")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_table_of_labels_lies_in_the_archive(suffix: str, tmp_path: Path) -> None:
    rows = "".join(f"{name},{name[0]}\n" for name in FILES)
    names = FILES | {"labels.csv": b"file,label\n" + rows.encode()}
    pack = zipped if suffix == "zip" else lambda path, files: tarred(path, files, "w:gz")
    data = images(pack(tmp_path / f"a.{suffix}", names), Reading(labels="labels.csv"))
    assert data.classes == ("a", "w") and len(data) == 6 and data.left_aside == ()


def test_a_zip_in_zips_beside_what_is_no_picture(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "pets.zip", FILES)
    for depth in range(2):
        names = {"in/pets.zip": inner.read_bytes(), "README.md": b"x", "__MACOSX/._p.zip": b"x"}
        inner = zipped(tmp_path / f"{depth}.zip", names)
    check(opened(inner))


def test_archives_in_a_folder_or_an_archive_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    zipped(folder / "pets.zip", FILES)
    with pytest.raises(UsageError, match=r"an archive: pass that, --data .*d/pets\.zip"):
        opened(folder)
    (folder / "more.7z").write_bytes(b"7z")
    with pytest.raises(UsageError, match=r"archives \(2, first more\.7z\): unpack them"):
        opened(folder)
    both = {name: (folder / name).read_bytes() for name in ("pets.zip", "more.7z")}
    both["again.zip"] = both["pets.zip"]
    with pytest.raises(UsageError, match=r"archives \(3, first again\.zip\): unpack them"):
        opened(zipped(tmp_path / "both.zip", both))
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "t1.nii.gz").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"holds no images \(1 file left aside: \.gz \(1\)\)"):
        opened(tmp_path / "volumes")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"Rar!\x1a\x07\x01\x00", "a.rar", "a RAR archive: unpack it and pass the folder"),
        (b"\x28\xb5\x2f\xfd rest", "a.tar.zst", "by Zstandard: unpack it and pass the folder"),
        (b"<!DOCTYPE html><html>", "a.zip", "an HTML page that a download gave in its place"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 8", "a.zip", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "a.png", r"a picture: a folder, a \.zip or a \.tar of images"),
        (b"", "a.zip", "is an empty file: download or copy it again"),
        (b"PK\x07\x08PK\x03\x04", "a.z01", "one part of an archive in several: unpack all"),
        (b"PK\x03\x04 rest", "a.zip.001", "one part of an archive in several: unpack all"),
        (b"PK\x03\x04 rest", "a.zip", "neither a folder .* cut short or damaged: get it again"),
    ],
)
def test_files_that_are_no_archive_are_told_for_what_they_are(
    content: bytes, name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        opened(tmp_path / name)


def test_the_last_part_of_several_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    (tmp_path / "a.z01").write_bytes(b"PK\x07\x08")
    with pytest.raises(UsageError, match="one part of a zip archive in several"):
        opened(path)
    (tmp_path / "a.z01").unlink()
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 34] = 1  # the first member begins in another part
    path.write_bytes(content)
    with pytest.raises(UsageError, match="one part of a zip archive in several"):
        opened(path)


def test_an_empty_file_without_suffix_is_left_aside(tmp_path: Path) -> None:
    data = opened(zipped(tmp_path / "a.zip", FILES | {"ant/LOCK": b"", "ant/x": b"B"}))
    check(data)
    assert [one.kind for one in data.left_aside] == ["without suffix"] * 2
