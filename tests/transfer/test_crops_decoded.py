"""Features of pictures and crops: what a crop of the decoded picture gives, decoded once each."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.data.crops import _RULE, WithCrops, cropped
from fedtl.determinism import generator
from fedtl.errors import UnreadableImageError
from fedtl.transfer.backbones import Backbone, load_backbone
from fedtl.transfer.extraction import Features, extract_features

PICTURES, VIEWS, SEED, BAD = 150, 3, 5, 17
# All but every fifth have crops.
ROWS = np.array([row for row in range(PICTURES) if row % 5])


class _Counted:
    """Random pictures, one of which cannot be read; counts what is decoded and digested."""

    def __init__(self) -> None:
        self.decoded: Counter[int] = Counter()
        self.digested: Counter[int] = Counter()

    def __len__(self) -> int:
        return PICTURES

    def digest(self, index: int) -> bytes:
        self.digested[index] += 1
        return hashlib.sha256(str(index).encode()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        self.decoded[index] += 1
        if index == BAD:
            raise UnreadableImageError("cut short")
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (20 + index % 7, 30, 3), dtype=np.uint8)


class _Listed:
    """Pictures as they are, decoded before."""

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(f"{index} listed".encode()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        return self.pictures[index]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("fedtl-tiny", weights="random", image_size=12, seed=0)


def _extract(items: Any, backbone: Backbone, cache: Path | None, workers: int = 3) -> Features:
    return extract_features(
        items,
        backbone,
        cache=cache,
        precision="float32",
        device="cpu",
        on_progress=None,
        workers=workers,
    )


@pytest.mark.parametrize("kept", [True, False])
def test_each_picture_is_decoded_once_for_all_of_its_crops(
    kept: bool, backbone: Backbone, tmp_path: Path
) -> None:
    pictures, cache = _Counted(), tmp_path if kept else None
    seen = WithCrops(pictures, ROWS, VIEWS, SEED)
    found = _extract(seen, backbone, cache)
    assert pictures.decoded == dict.fromkeys(range(PICTURES), 1)
    assert pictures.digested == dict.fromkeys(range(PICTURES), 1)
    lost = [index for index, _ in found.unreadable]
    assert lost == [BAD, *(PICTURES + view * len(ROWS) + 13 for view in range(VIEWS))]
    assert ROWS[13] == BAD

    # The rule by hand: a crop of the decoded picture, whatever is run beside it.
    expected = []
    for index in range(len(seen)):
        view, place = divmod(index - PICTURES, len(ROWS))
        row = index if index < PICTURES else int(ROWS[place])
        if row == BAD:
            expected.append(np.zeros((8, 8, 3), np.uint8))
            continue
        picture = _Counted().load(row)
        if index >= PICTURES:
            content = int.from_bytes(hashlib.sha256(str(row).encode()).digest()[:8], "little")
            picture = cropped(picture, generator(SEED, _RULE, content, view))
        expected.append(picture)
    plain = _extract(_Listed(expected), backbone, None).array.copy()
    plain[lost] = 0
    np.testing.assert_array_equal(found.array, plain)


def test_only_what_is_new_is_decoded(backbone: Backbone, tmp_path: Path) -> None:
    _extract(WithCrops(_Counted(), ROWS, 1, SEED), backbone, tmp_path)
    pictures = _Counted()
    more = _extract(WithCrops(pictures, ROWS, VIEWS, SEED), backbone, tmp_path)
    # The one that cannot be read is tried again with the new crops.
    new = set(ROWS.tolist())
    assert pictures.decoded == dict.fromkeys(new, 1)
    whole = _extract(WithCrops(_Counted(), ROWS, VIEWS, SEED), backbone, None, workers=1)
    np.testing.assert_array_equal(more.array, whole.array)
