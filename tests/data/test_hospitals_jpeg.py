"""Simulated JPEG compression beside Pillow's own, libjpeg's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedtl.data.hospitals import HospitalImages, HospitalsOptions, SiteShift, hospitals_dataset
from fedtl.data.hospitals.jpeg import compressed


def uncompressed(size: int, count: int) -> NDArray[np.uint8]:
    shift = SiteShift(jpeg=0)
    images = hospitals_dataset(0, HospitalsOptions(size=size, shift=shift)).inputs
    assert isinstance(images, HospitalImages)
    return images.load_batch(np.arange(count))


def through_pillow(pictures: NDArray[np.uint8], quality: int, *, halved: bool) -> NDArray[np.uint8]:
    read = []
    for picture in pictures:
        file = io.BytesIO()
        subsampling = "4:2:0" if halved else "4:4:4"
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
        read.append(np.asarray(Image.open(file)))
    return np.stack(read)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("shape", [(64, 64), (33, 33), (16, 16), (48, 21), (17, 40), (1, 1)])
@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("quality", [10, 55, 75, 95])
def test_compression_is_that_of_pillow(shape: tuple[int, int], halved: bool, quality: int) -> None:
    pictures = uncompressed(64, 12)[:, : shape[0], : shape[1]]
    theirs = through_pillow(pictures, quality, halved=halved)
    ours = compressed(pictures, np.full(12, quality), np.full(12, halved))
    assert ours.shape == pictures.shape and ours.dtype == np.uint8
    # libjpeg's transform rounds between its two passes, ours does not.
    assert difference(ours, theirs) < 1
    if min(shape) >= 16:
        assert difference(ours, theirs) < 0.4 * difference(pictures, theirs)
        loss, their_loss = (made.astype(int) - pictures for made in (ours, theirs))
        assert np.corrcoef(loss.ravel(), their_loss.ravel())[0, 1] > 0.9


def test_a_picture_s_compression_is_its_own() -> None:
    pictures = uncompressed(33, 10)
    quality = np.array([0, 20, 95, 55, 0, 70, 80, 33, 100, 1])
    halved = np.arange(10) % 3 == 0
    every = compressed(pictures, quality, halved)
    for index in range(10):
        alone = compressed(
            pictures[index : index + 1], quality[index : index + 1], halved[index : index + 1]
        )
        assert np.array_equal(alone[0], every[index])
    assert np.array_equal(every[quality == 0], pictures[quality == 0])
    assert not (every[quality > 0] == pictures[quality > 0]).all(axis=(1, 2, 3)).any()


def test_the_worst_pictures_keep_within_range() -> None:
    rng = np.random.default_rng(0)
    checks = np.indices((32, 32)).sum(axis=0) % 2 * 255
    noise = rng.integers(0, 2, (6, 32, 32, 3)) * 255
    pictures = np.concatenate([np.broadcast_to(checks[..., None], (2, 32, 32, 3)), noise])
    pictures = pictures.astype(np.uint8)
    for quality in (1, 10, 100):
        for halved in (False, True):
            ours = compressed(pictures, np.full(8, quality), np.full(8, halved))
            theirs = through_pillow(pictures, quality, halved=halved)
            assert difference(ours, theirs) < 2.5


def test_arithmetic_is_exact() -> None:
    """Products in float32, in whatever order they are added, are those in whole numbers."""
    from fedtl.data.hospitals import jpeg

    blocks = np.random.default_rng(0).choice([-128.0, 127.0], (4096, 64))
    # The block that each coefficient answers to most strongly, of either sign.
    extreme = np.where(jpeg._FORWARD.T > 0, 127.0, -128.0)
    blocks = np.concatenate([blocks, extreme, -1 - extreme])
    whole = blocks.astype(np.int64) @ jpeg._FORWARD.astype(np.int64)
    assert np.abs(blocks[:, :, None] * jpeg._FORWARD).sum(axis=1).max() < 2**24
    assert np.array_equal(blocks.astype(np.float32) @ jpeg._FORWARD, whole)
    dequantised = np.rint(whole / 2**13 / 255) * 255
    assert np.abs(dequantised[:, :, None] * jpeg._INVERSE).sum(axis=1).max() < 2**24
