"""Embeddings of one's own in an .npz: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opened_data import opened

from fedtl.errors import UsageError


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


_NAMES = np.array(["straße", "a", "b"])
_Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.char.encode(_NAMES, "utf-8")[_Y], ("a", "b", "straße")),
        (np.char.encode(_NAMES, "latin-1")[_Y], ("a", "b", "straße")),
        (_Y.astype(np.float16), ("0", "1", "2")),
        (_Y[:, None], ("0", "1", "2")),
        (_Y[:, None].astype(np.float64), ("0", "1", "2")),
        (np.eye(3)[_Y], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[_Y], ("0", "1", "2")),
        (_Y == 1, ("False", "True")),
    ],
)
def test_labels_of_any_plain_type_are_classes(
    y: NDArray[Any], classes: tuple[str, ...], tmp_path: Path
) -> None:
    data = opened(features(tmp_path, y=y))
    assert data.classes == classes
    names = [classes[label] for label in data.labels]
    if classes[0] == "a":
        assert names == [str(_NAMES[label]) for label in _Y]
    elif len(classes) == 3:
        assert names == [str(label) for label in _Y]
    else:
        assert names == [str(label == 1) for label in _Y]


def test_sites_and_groups_are_text_whatever_they_were(tmp_path: Path) -> None:
    site = np.char.encode(_NAMES, "latin-1")[_Y]
    file = features(tmp_path, site=site, group=np.arange(6.0)[:, None], test=np.eye(6)[5])
    data = opened(file)
    assert data.sites is not None and list(data.sites) == [str(_NAMES[label]) for label in _Y]
    assert data.groups is not None and list(data.groups) == list("012345")
    assert data.test.tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("x_name", "y_name"),
    [("features", "labels"), ("Embeddings", "target"), ("arr_0", "arr_1")],
)
def test_common_names_of_arrays_are_understood(x_name: str, y_name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    np.savez(tmp_path / "a.npz", **{x_name: x, y_name: _Y % 2})
    data = opened(f"features:{tmp_path / 'a.npz'}")
    assert np.array_equal(np.asarray(data.inputs), x.astype(np.float32))
    assert list(data.labels) == list(_Y % 2)
    assert data.notes == (f"a.npz: {x_name} as x, {y_name} as y",)


def test_files_of_two_parts_have_a_test_split(tmp_path: Path) -> None:
    x, y = np.arange(12.0).reshape(6, 2), _Y % 2
    parts = {"X_train": x[:4], "y_train": y[:4, None], "X_test": x[4:], "y_test": y[4:]}
    np.savez(tmp_path / "a.npz", **parts)
    data = opened(f"features:{tmp_path / 'a.npz'}")
    assert np.array_equal(np.asarray(data.inputs), x) and list(data.labels) == list(y)
    assert data.test.tolist() == [False] * 4 + [True] * 2
    np.savez(tmp_path / "a.npz", **{**parts, "y_train": y[:3], "y_test": y[3:]})
    with pytest.raises(UsageError, match="X_train has 4 rows and y_train 3"):
        opened(f"features:{tmp_path / 'a.npz'}")


def test_parts_without_a_test_part_are_tested_on_that_of_validation(tmp_path: Path) -> None:
    x, y = np.arange(12.0).reshape(6, 2), _Y % 2
    parts = {"x_train": x[:4], "y_train": y[:4], "x_val": x[4:], "y_val": y[4:]}
    np.savez(tmp_path / "a.npz", **parts)
    data = opened(f"features:{tmp_path / 'a.npz'}")
    assert data.test.tolist() == [False] * 4 + [True] * 2
    assert data.notes == ("a.npz: train 4, val 2 rows; val is the test split",)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    assert len(opened(f"features:{tmp_path / 'a.npz'}")) == 6


def test_an_array_of_splits_is_understood(tmp_path: Path) -> None:
    split = np.array(["Training", "Training", "valid", "valid", "Testing", "Testing"])
    data = opened(features(tmp_path, split=split))
    assert data.test.tolist() == [False] * 4 + [True] * 2
    assert data.notes == ("embedded.npz: Testing of split is the test split",)
    data = opened(features(tmp_path, split=np.array([b"train"] * 4 + [b"val"] * 2)))
    assert data.test.tolist() == [False] * 4 + [True] * 2


def test_arrays_that_are_not_used_are_told(tmp_path: Path) -> None:
    data = opened(features(tmp_path, names=np.array(list("abcdef")), other=np.array([None])))
    assert data.notes == ("embedded.npz: not used: names, other",)


def test_shapes_that_hold_rows_all_the_same(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(6, 2)
    data = opened(features(tmp_path, x=x[:, :, None, None], y=_Y[None, :] % 2))
    assert np.array_equal(np.asarray(data.inputs), x) and list(data.labels) == list(_Y % 2)
    bits = x.astype(int) % 2 == 0
    assert np.array_equal(np.asarray(opened(features(tmp_path, x=bits)).inputs), bits)


def test_names_beside_a_list_of_classes_keep_its_order(tmp_path: Path) -> None:
    data = opened(features(tmp_path, y=np.array(list("ababab")), classes=np.array(["b", "a"])))
    assert data.classes == ("b", "a") and list(data.labels) == [1, 0] * 3
    assert opened(features(tmp_path, classes=np.array([7, 9]))).classes == ("7", "9")


def test_a_label_that_may_stand_for_none_is_told(tmp_path: Path) -> None:
    data = opened(features(tmp_path, y=np.array([-1, 0, 1] * 2)))
    assert any("label -1 is taken as a class" in note for note in data.notes)
    assert opened(features(tmp_path, y=np.array([-1, 1] * 3))).notes == ()


def test_half_precision_keeps_its_values(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float16)
    assert np.array_equal(np.asarray(opened(features(tmp_path, x=x)).inputs), x)


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
        ({"x": np.zeros((6, 2, 3))}, r"flatten it: x\.reshape\(len\(x\), -1\)"),
        ({"x": np.zeros((2, 6))}, r"x has 2 rows, so \(2,\) is expected; transpose x: x\.T"),
        ({"y": np.array(["a", "b", "", "a", "nan", "b"])}, "2 of 6 rows of y are empty or nan"),
        ({"site": np.array([1, 1, 1, 2, 2, np.nan])}, r"1 of 6 rows of site .*first row 5"),
        ({"split": np.array(list("aabbcc"))}, "split is taken for each row's split .a, b, c:"),
        ({"x": np.zeros((6, 0))}, "neither of them 0"),
        ({"x": np.array([[None]] * 6)}, "x holds Python objects"),
        ({"x": np.array([["a"]] * 6)}, "x has type"),
        ({"x": None}, "no array x"),
        ({"y": None}, "no array y"),
        ({"y": np.zeros(5, dtype=int)}, r"y has shape \(5,\), but x has 6 rows"),
        ({"y": np.full(6, 0.5)}, "row 0 of y .* is 0.5.*class numbers or names"),
        ({"y": np.zeros(6)}, "at least two classes"),
        ({"y": np.zeros(6, dtype=int)}, "at least two classes"),
        ({"y": np.array([0, 0, 0, 0, 0, 1])}, "class 1 has a single row"),
        ({"site": np.zeros(3)}, "site has shape"),
        ({"test": np.full(6, 0.5)}, "must be bool"),
        ({"y": np.ones((6, 3))}, "is not one-hot"),
        ({"X": np.ones((6, 3)), "x": None, "emb": np.ones((6, 3))}, "could each be the array x"),
        ({"y": None, "tags": np.zeros(6)}, "no array y; its arrays are x, tags"),
        ({"y": np.array(list("ababab"), object)}, r"y holds Python objects.*y\.astype\(str\)"),
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
    for content in (b"hello", b"PK\x03\x04hello"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"damaged or not a \.npz"):
            opened(f"features:{path}")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UsageError, match="single array"):
        opened(f"features:{path}")
    with pytest.raises(UsageError, match="write features:"):
        opened(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npz", b"version https://git-lfs.github.com/spec/v1\nsize 99\n", "git-lfs pointer"),
        ("a.npz", b"<!doctype html>", "but an HTML page"),
        ("a.npz", b"", "but an empty file"),
        ("a.csv", b"f0,f1,label\n1,2,a\n", "a table of text, not a .npz file: save the features"),
        ("a.parquet", b"PAR1" + bytes(9), "no sound Parquet file"),
        ("a.pkl", b"\x80\x04.", "a pickle, which could run code"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_what_people_have_in_place_of_npz_is_told(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        opened(f"features:{tmp_path / name}")


def test_other_archives_and_folders_are_no_npz(tmp_path: Path) -> None:
    import torch

    torch.save({"x": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"is a PyTorch file, not a \.npz"):
        opened(f"features:{tmp_path / 'a.pt'}")
    with pytest.raises(UsageError, match=r"is a folder, but a \.npz file"):
        opened(f"features:{tmp_path}")
