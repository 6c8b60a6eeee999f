"""Where labelled inputs come from: layouts, files, decoding, and what is refused."""

from __future__ import annotations

import concurrent.futures
import gzip
import hashlib
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedtl.data.dataset import Dataset, UnreadableImageError
from fedtl.data.decoding import decode_rgb
from fedtl.data.hospitals import HospitalsOptions
from fedtl.data.sources import check_classes, open_dataset, without_unreadable
from fedtl.errors import FedtlError, UsageError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def opened(spec: object) -> Dataset:
    return open_dataset(str(spec), seed=0, hospitals=HospitalsOptions(images=200, test_images=40))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(shade: int = 0) -> bytes:
    return encoded(Image.new("RGB", (5, 4), (shade, 0, 0)))


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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/1.png", png())
    with pytest.raises(UsageError, match="other than deflate"):
        opened(path)


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


# Decoding


def test_orientation_is_honoured() -> None:
    picture = Image.new("RGB", (6, 4), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: turn by 90 degrees clockwise to see it upright
    pixels = decode_rgb(encoded(picture, exif=exif))
    assert pixels.shape == (6, 4, 3)
    assert (pixels[0, 3] == 255).all() and pixels.sum() == 3 * 255


def test_colour_modes_become_rgb() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    three = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(decode_rgb(encoded(Image.fromarray(grey))), three)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(decode_rgb(encoded(deep)), three)
    assert np.array_equal(decode_rgb(encoded(deep, "TIFF")), three)
    assert np.array_equal(
        decode_rgb(encoded(Image.fromarray(grey.astype(np.int32) * 257), "TIFF")), three
    )
    palette = Image.new("P", (1, 1), 7)
    palette.putpalette([0, 0, 0] * 7 + [10, 20, 30])
    assert decode_rgb(encoded(palette)).tolist() == [[[10, 20, 30]]]
    assert decode_rgb(encoded(Image.new("1", (1, 1), 1))).tolist() == [[[255] * 3]]
    cmyk = decode_rgb(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert (abs(cmyk[4, 4].astype(int) - [255, 0, 0]) < 8).all()


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    assert decode_rgb(encoded(clear)).tolist() == [[[255] * 3, [255, 0, 0]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9])
    assert decode_rgb(encoded(palette, transparency=0)).tolist() == [[[255] * 3]]
    assert decode_rgb(encoded(Image.new("LA", (1, 1), (0, 0)))).tolist() == [[[255] * 3]]


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decode_rgb(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))


# Feature files


def features(path: Path, **changes: Any) -> str:
    arrays = {
        "x": np.arange(12, dtype=np.float64).reshape(6, 2),
        "y": np.array([0, 1, 0, 1, 0, 1]),
        **changes,
    }
    file = path / "embedded.npz"
    np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    return f"features:{file}"


def test_features(tmp_path: Path) -> None:
    test = np.array([False] * 4 + [True] * 2)
    data = opened(
        features(
            tmp_path, site=np.array([1, 1, 2, 2, 1, 1]), test=test, classes=np.array(["no", "yes"])
        )
    )
    assert isinstance(data.inputs, np.ndarray)
    assert data.inputs.dtype == np.float32 and data.inputs.tolist()[2] == [4, 5]
    assert data.classes == ("no", "yes") and list(data.labels) == [0, 1] * 3
    assert data.sites is not None and list(data.sites) == ["1", "1", "2", "2", "1", "1"]
    assert data.test.tolist() == test.tolist() and data.name == "embedded"


def test_features_with_class_names_as_labels(tmp_path: Path) -> None:
    data = opened(features(tmp_path, y=np.array(list("babbaa"))))
    assert data.classes == ("a", "b") and list(data.labels) == [1, 0, 1, 1, 0, 0]


def spoilt(row: int, value: float, dtype: type = np.float64) -> NDArray[Any]:
    x: NDArray[Any] = np.zeros((6, 2), dtype=dtype)
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x": spoilt(4, np.nan)}, "row 4 of x"),
        ({"x": spoilt(3, -np.inf, np.float32)}, "row 3 of x"),
        ({"x": spoilt(5, 1e300)}, "row 5 of x"),
        ({"x": np.zeros(6)}, r"x has shape \(6,\)"),
        ({"x": np.zeros((6, 0))}, "neither of them 0"),
        ({"x": np.array([[None]] * 6)}, "x holds Python objects"),
        ({"x": np.array([["a"]] * 6)}, "x has type"),
        ({"x": None}, "no array x"),
        ({"y": None}, "no array y"),
        ({"y": np.zeros(5, dtype=int)}, r"y has shape \(5,\), but x has 6 rows"),
        ({"y": np.zeros(6)}, "class numbers or names"),
        ({"y": np.zeros(6, dtype=int)}, "at least two classes"),
        ({"y": np.array([0, 0, 0, 0, 0, 1])}, "class 1 has a single row"),
        ({"site": np.zeros(3)}, "site has shape"),
        ({"test": np.zeros(6)}, "must be bool"),
        ({"test": np.ones(6, dtype=bool)}, "there is none"),
        ({"classes": np.array(["a", "b"]), "y": np.array([0, 1, 2, 0, 1, 0])}, "row 2 of y"),
        ({"classes": np.array(["a", "a"])}, "different names"),
    ],
)
def test_features_that_cannot_be_used(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        opened(features(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content in (b"", b"hello", b"PK\x03\x04hello"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"damaged or no \.npz"):
            opened(f"features:{path}")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UsageError, match="single array"):
        opened(f"features:{path}")
    with pytest.raises(UsageError, match="write features:"):
        opened(path)


# MedMNIST


def medmnist_arrays(shape: tuple[int, ...] = (28, 28, 3)) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 8), ("val", 4), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return arrays


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)])
def test_medmnist_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = medmnist_arrays(shape)
    path = tmp_path / "bloodmnist.npz"
    np.savez(path, allow_pickle=False, **arrays)
    data = opened(f"medmnist:{path}")
    assert (len(data), int(data.test.sum()), data.classes) == (18, 6, ("0", "1"))
    assert not isinstance(data.inputs, np.ndarray)
    picture = data.inputs.load(12)
    assert picture.shape == (28, 28, 3)
    assert data.test[12] and data.keys[12] == "test/0"
    stored = arrays["test_images"][0]
    assert (picture == stored.reshape(28, 28, -1)).all()
    assert (
        data.inputs.digest(12)
        == hashlib.sha256(repr(stored.shape).encode() + stored.tobytes()).digest()
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train_labels": np.zeros((8, 14), dtype=np.uint8)}, "14 labels per picture"),
        ({"train_images": np.zeros((8, 28, 28, 28), dtype=np.uint8)}, "has shape"),
        ({"train_images": np.zeros((8, 28, 28))}, "8-bit pictures"),
        ({"val_labels": np.zeros((3, 1), dtype=np.uint8)}, "each of 4 pictures"),
        ({"val_images": np.zeros((4, 32, 32, 3), dtype=np.uint8)}, "different shapes"),
    ],
)
def test_medmnist_files_that_cannot_be_used(
    tmp_path: Path, changes: dict[str, NDArray[Any]], complaint: str
) -> None:
    np.savez(tmp_path / "m.npz", allow_pickle=False, **{**medmnist_arrays(), **changes})
    with pytest.raises(UsageError, match=complaint):
        opened(f"medmnist:{tmp_path / 'm.npz'}")


def test_medmnist_by_name_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(UsageError, match="needs the package medmnist"):
        opened("medmnist:bloodmnist")


def test_medmnist_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class BloodMNIST:
        def __init__(self, *, split: str, download: bool) -> None:
            assert (split, download) == ("train", True)
            self.root = str(tmp_path)
            np.savez(tmp_path / "bloodmnist.npz", allow_pickle=False, **medmnist_arrays())

    package = types.ModuleType("medmnist")
    package.INFO = {  # type: ignore[attr-defined]
        "bloodmnist": {"python_class": "BloodMNIST", "label": {"0": "basophil", "1": "blast"}},
        "pathmnist": {"python_class": "PathMNIST", "label": {"0": "a", "1": "b"}},
    }
    package.BloodMNIST = BloodMNIST  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medmnist", package)
    assert opened("medmnist:BloodMNIST").classes == ("basophil", "blast")
    with pytest.raises(UsageError, match="did you mean medmnist:bloodmnist"):
        opened("medmnist:bloodmnst")
    with pytest.raises(FedtlError, match="could not be fetched"):
        opened("medmnist:pathmnist")


# torchvision


def idx(values: NDArray[np.uint8]) -> bytes:
    """Return the MNIST files' format: a magic number, the shape, the values."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return head + values.tobytes()


def test_torchvision_set_that_is_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    raw = tmp_path / "fedtl" / "torchvision" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = (np.arange(60) % 10).astype(np.uint8)
    for stem, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for suffix, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = idx(values[rows])
            (raw / f"{stem}-{suffix}").write_bytes(content)
            (raw / f"{stem}-{suffix}.gz").write_bytes(gzip.compress(content))
    data = opened("torchvision:MNIST")
    assert np.array_equal(data.labels, labels)
    assert data.test.tolist() == [False] * 40 + [True] * 20
    assert len(data.classes) == 10 and data.classes[3] == "3 - three"
    assert not isinstance(data.inputs, np.ndarray)
    for row in (0, 39, 40, 59):
        assert (data.inputs.load(row) == images[row][:, :, None]).all()


def test_torchvision_download_failure_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from torchvision import datasets

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(
        FedtlError, match=r"could not be downloaded .* \(no route to host\)"
    ) as caught:
        opened("torchvision:CIFAR10")
    assert "\n" not in str(caught.value)


def test_torchvision_sets_exist_under_their_names() -> None:
    from torchvision import datasets

    from fedtl.data.torchvision_sets import _PARTS

    assert all(hasattr(datasets, name) for name in _PARTS)


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
