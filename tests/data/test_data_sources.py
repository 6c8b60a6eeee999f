"""Where labelled inputs come from: layouts of folders and archives, and what is refused."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from opened_data import encoded, opened, png
from PIL import Image

from fedtl.data.sources import check_classes, without_unreadable
from fedtl.errors import UnreadableImageError, UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


Make = Callable[[dict[str, bytes]], Path]


@pytest.fixture(params=["folder", "stored zip", "deflated zip"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def write(files: dict[str, bytes]) -> Path:
        if request.param == "folder":
            for name, data in files.items():
                path = tmp_path / "data" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return tmp_path / "data"
        method = zipfile.ZIP_STORED if request.param == "stored zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return tmp_path / "data.zip"

    return write


def tree(*paths: str) -> dict[str, bytes]:
    return {path: png(shade) for shade, path in enumerate(paths)}


def test_class_folders(make: Make) -> None:
    files = tree("wasp/2.png", "ant/b.JPG", "ant/a.png", "wasp/10.png")
    data = opened(make({**files, "readme.txt": b"x", "ant/.hidden.png": b"x"}))
    assert list(data.keys) == ["ant/a.png", "ant/b.JPG", "wasp/10.png", "wasp/2.png"]
    assert data.classes == ("ant", "wasp")
    assert list(data.labels) == [0, 0, 1, 1]
    assert data.sites is None
    assert not data.test.any()
    assert data.name == "data"
    assert not isinstance(data.inputs, np.ndarray)
    for row, key in enumerate(data.keys):
        assert data.inputs.digest(row) == hashlib.sha256(files[key]).digest()
        assert (data.inputs.load(row) == [list(files).index(key), 0, 0]).all()


def test_split_folders_with_a_test_split(make: Make) -> None:
    data = opened(
        make(tree(*(f"{split}/{c}/1.png" for split in ("train", "VAL", "test") for c in "ab")))
    )
    assert [key for key, test in zip(data.keys, data.test, strict=True) if test] == [
        "test/a/1.png",
        "test/b/1.png",
    ]
    assert data.sites is None


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_split_folders_without_a_test_split(make: Make, validation: str) -> None:
    data = opened(
        make(tree(*(f"{split}/{c}/1.png" for split in ("train", validation) for c in "ab")))
    )
    assert {key.split("/")[0] for key, t in zip(data.keys, data.test, strict=True) if t} == {
        validation
    }
    assert data.test.sum() == 2


def test_site_folders(make: Make) -> None:
    data = opened(make(tree(*(f"{site}/{c}/1.png" for site in ("york", "bern") for c in "ba"))))
    assert data.sites is not None
    assert list(data.sites) == ["bern", "bern", "york", "york"]
    assert list(data.labels) == [0, 1, 0, 1]


@pytest.mark.parametrize("inner", ["", "site{}/"])
def test_a_wrapping_folder_is_looked_through(make: Make, inner: str) -> None:
    names = [f"archive/{inner.format(n)}{c}/{n}.png" for n in (1, 2) for c in "ab"]
    data = opened(make({**tree(*names), "__MACOSX/archive/a/._1.png": b"x"}))
    assert data.classes == ("a", "b")
    assert list(data.keys) == sorted(names)
    assert (data.sites is None) == (inner == "")


@pytest.mark.parametrize(
    ("paths", "complaint"),
    [
        ([], "holds no images"),
        (["a/1.png", "a/2.png"], "at least two classes .* only a"),
        (["a/1.png", "a/2.png", "b/1.png"], "class b has a single image"),
        (["a/1.png", "b/1.png", "1.png"], "1.png lies in no class folder"),
        (["a/1.png", "a/b/1.png", "c/1.png"], "mixes layouts: a/1.png .* a/b/1.png"),
        (["train/a/1.png", "bern/a/1.png"], "train is a split and bern looks like a site"),
        (["x/y/a/1.png", "x/z/b/1.png", "v/z/b/1.png"], "3 folders deep"),
        ([f"{s}/{c}/1.png" for s in ("test", "val") for c in "a"], "only a"),
    ],
)
def test_trees_that_cannot_be_used(make: Make, paths: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        opened(make({**tree(*paths), "notes.txt": b"x"}))
    assert "\n" not in str(caught.value)


def test_threads_and_copies_read_the_same(make: Make) -> None:
    rng = np.random.default_rng(0)
    files = {
        f"{c}/{n}.png": encoded(Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)))
        for c in "ab"
        for n in range(40)
    }
    data = opened(make(files))
    copy = pickle.loads(pickle.dumps(data.inputs))
    assert not isinstance(data.inputs, np.ndarray)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(data.inputs.load, [*range(80)] * 3))
    for row, key in enumerate(data.keys):
        truth = np.array(Image.open(io.BytesIO(files[key])))
        for picture in (loaded[row], loaded[row + 80], loaded[row + 160], copy.load(row)):
            assert np.array_equal(picture, truth)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(opened(tmp_path)) == 4


def test_broken_images_are_found_on_loading_and_dropped(make: Make) -> None:
    good = tree("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    noisy = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noisy))
    data = opened(
        make({**good, "a/cut.png": whole[:-600], "b/text.jpg": b"hello", "b/void.gif": b""})
    )
    assert not isinstance(data.inputs, np.ndarray)
    bad = [row for row, key in enumerate(data.keys) if key not in good]
    for row in bad:
        with pytest.raises(UnreadableImageError) as caught:
            data.inputs.load(row)
        assert str(caught.value) and "0x" not in str(caught.value)
    kept = without_unreadable(data, np.array(bad))
    assert list(kept.keys) == sorted(good)
    check_classes(kept)
    with pytest.raises(UsageError, match="class b has a single image"):
        check_classes(without_unreadable(kept, np.array([2])))


def test_a_damaged_zip_member_is_an_unreadable_image(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in tree("a/1.png", "a/2.png", "b/1.png", "b/2.png").items():
            archive.writestr(name, data)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    images = opened(path).inputs
    assert not isinstance(images, np.ndarray)
    with pytest.raises(UnreadableImageError, match="checksum"):
        images.load(0)
    images.load(1)
    assert len({images.digest(row) for row in range(3)}) == 3


def test_links_to_nothing_are_unreadable_and_pipes_are_passed_over(tmp_path: Path) -> None:
    for name, data in tree("a/1.png", "a/2.png", "b/1.png", "b/2.png").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a" / "3.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "b" / "3.png")
    data = opened(tmp_path)
    assert list(data.keys) == ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"]
    assert not isinstance(data.inputs, np.ndarray)
    assert data.inputs.digest(2) == data.inputs.digest(2) != data.inputs.digest(1)
    with pytest.raises(UnreadableImageError, match="No such file"):
        data.inputs.load(2)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "1.png").write_bytes(png())
    with pytest.raises(UsageError, match=r"not UTF-8, b'caf\\xe9/1.png'"):
        opened(tmp_path)


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in tree("a/1.png", "a/2.png", "b/1.png", "b/2.png").items():
            archive.writestr(name.replace("/", "\\"), data)
    assert opened(path).classes == ("a", "b")


def test_a_corrupt_zip_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(UsageError, match="neither a folder nor a sound zip"):
        opened(path)
    table = tmp_path / "wards.txt"
    table.write_text("age,sick\n1,yes\n")
    with pytest.raises(UsageError, match=r"nor a sound zip.*known by its suffix: \.csv, \.tsv"):
        opened(table)
    with zipfile.ZipFile(tmp_path / "wards.XLSX", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UsageError, match=r"is a spreadsheet: save its sheet as CSV"):
        opened(tmp_path / "wards.XLSX")


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("/no/such/folder", "there is no such folder"),
        ("hospital", "did you mean hospitals"),
        ("torchvison:CIFAR10", "did you mean torchvision:CIFAR10"),
        ("features:", "names no data set"),
        ("features:/no.npz", "does not exist"),
        ("torchvision:CIFAR-10", "did you mean torchvision:CIFAR10"),
        ("medmnist:/no.npz", "does not exist"),
    ],
)
def test_unknown_sources_are_refused_with_a_hint(spec: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        opened(spec)


def test_hospitals_is_the_embedded_default() -> None:
    data = opened("hospitals")
    assert (len(data), int(data.test.sum()), data.name) == (240, 40, "hospitals")


# Real archives


@pytest.mark.parametrize(
    ("name", "rows", "classes", "sites", "test"),
    [
        ("malaria.zip", 27_558, 2, 200, 0),
        ("pacs_128.zip", 9_991, 7, 4, 0),
        ("ants_bees.zip", 397, 2, 0, 153),
    ],
)
def test_real_archives(name: str, rows: int, classes: int, sites: int, test: int) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the repository")
    data = opened(SHARED / name)
    assert (len(data), len(data.classes), int(data.test.sum())) == (rows, classes, test)
    assert (0 if data.sites is None else len(set(data.sites))) == sites
    assert not isinstance(data.inputs, np.ndarray)
    with zipfile.ZipFile(SHARED / name) as archive:
        for row in range(0, rows, rows // 5):
            content = archive.read(data.keys[row])
            assert data.inputs.digest(row) == hashlib.sha256(content).digest()
            assert data.inputs.load(row).shape[2] == 3
