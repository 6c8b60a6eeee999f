"""Data sets of MedMNIST and torchvision, by name or by file."""

from __future__ import annotations

import gzip
import hashlib
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opened_data import opened

from fedtl.errors import FedtlError, UsageError

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
