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
        ({"y": np.full(6, 0.5)}, "row 0 of y .* is 0.5.*class numbers or names"),
        ({"y": np.zeros(6)}, "at least two classes"),
        ({"y": np.zeros(6, dtype=int)}, "at least two classes"),
        ({"y": np.array([0, 0, 0, 0, 0, 1])}, "class 1 has a single row"),
        ({"site": np.zeros(3)}, "site has shape"),
        ({"test": np.full(6, 0.5)}, "must be bool"),
        ({"y": np.ones((6, 3))}, "is not one-hot"),
        (
            {"X": np.ones((6, 3)), "x": None, "features": np.ones((6, 3))},
            "could each be the array x",
        ),
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
