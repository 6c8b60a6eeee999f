"""Crops of pictures: parts of them, drawn from picture, seed and number alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fedtl.data.crops import CropRows, WithCrops, cropped

ROWS = np.array([0, 2, 3])


class _Pictures:
    """Pictures of which every pixel is another one."""

    def __init__(self, count: int, first: int = 0) -> None:
        self._count, self._first = count, first

    def __len__(self) -> int:
        return self._count

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(bytes([self._first + index])).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        row, column = np.mgrid[:20, :30]
        return np.stack([row, column, np.full_like(row, self._first + index)], 2).astype(np.uint8)


def _seen(seed: int = 1, count: int = 4) -> WithCrops:
    return WithCrops(_Pictures(count), ROWS, 2, seed)


def test_pictures_come_first_and_crops_of_one_number_together() -> None:
    seen = _seen()
    assert len(seen) == 4 + 2 * 3
    assert [int(seen.load(at)[0, 0, 2]) for at in range(len(seen))] == [0, 1, 2, 3] + 2 * [0, 2, 3]
    assert len({seen.digest(at) for at in range(len(seen))}) == len(seen)
    assert seen.digest(1) == _Pictures(4).digest(1)


def test_a_crop_is_a_part_of_the_picture_every_other_time_mirrored() -> None:
    whole, steps = _Pictures(1).load(0), []
    for seed in range(200):
        part = cropped(whole, np.random.default_rng(seed))
        high, wide = part.shape[:2]
        assert 0.3 * 600 < high * wide <= 600
        assert 0.7 < high / wide < 1.4 or high == 20
        lines, columns = part[:, 0, 0].astype(int), part[0, :, 1].astype(int)
        assert (np.diff(lines) == 1).all()
        (step,) = set(np.diff(columns))
        steps.append(int(step))
    assert set(steps) == {1, -1}
    assert 70 < steps.count(1) < 130


def test_a_crop_depends_on_picture_seed_and_number_alone() -> None:
    other = WithCrops(_Pictures(8, first=1), np.array([1, 6]), 2, 1)
    # The second crop of picture 2, which is row 1 in this company.
    assert np.array_equal(_seen().load(4 + 3 + 1), other.load(8 + 2))
    assert _seen().digest(4 + 3 + 1) == other.digest(8 + 2)
    assert _seen(2).digest(8) != _seen().digest(8)
    assert not np.array_equal(_seen().load(5), _seen().load(8))


def test_each_is_shown_as_often_as_the_picture() -> None:
    seen = _seen()
    crops = CropRows.of(seen)
    rows = np.repeat(ROWS, 3000)
    keys = np.random.default_rng(0).integers(0, 2**64, len(rows), np.uint64)
    shown = crops.shown(rows, keys)
    for row in ROWS:
        places, counts = np.unique(shown[rows == row], return_counts=True)
        assert [int(seen.load(int(place))[0, 0, 2]) for place in places] == [row] * 3
        assert (np.abs(counts - 1000) < 130).all()


def test_sources_are_the_rows_of_the_pictures() -> None:
    seen = _seen()
    expected = [int(seen.load(at)[0, 0, 2]) for at in range(len(seen))]
    order = np.random.default_rng(0).permutation(len(seen))
    assert seen.sources(order).tolist() == [expected[at] for at in order]
    none = WithCrops(_Pictures(4), ROWS[:0], 2, 1)
    assert none.sources(np.arange(4)).tolist() == [0, 1, 2, 3]
