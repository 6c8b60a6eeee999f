"""The rendered data: reproducible, varied, and not separable without looking at shapes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.data.hospitals import CELL_TYPES, HospitalImages, HospitalsOptions, hospitals_dataset
from fedtl.errors import UsageError

SMALL = HospitalsOptions(images=120, test_images=40, size=32)


def pictures(images: object, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    assert isinstance(images, HospitalImages)
    return images.load_batch(indices)


@pytest.mark.parametrize("size", [16, 33, 64])
def test_a_picture_does_not_depend_on_its_batch(size: int) -> None:
    data = hospitals_dataset(3, HospitalsOptions(images=120, test_images=40, size=size))
    images = data.inputs
    assert isinstance(images, HospitalImages)
    every = pictures(images, np.arange(len(data)))
    assert every.shape == (160, size, size, 3)
    for index in (0, 17, 119, 120, 159):
        assert np.array_equal(images.load(index), every[index])
    shuffled = np.random.default_rng(0).permutation(len(data))[:37]
    assert np.array_equal(pictures(images, shuffled), every[shuffled])


def test_the_seed_determines_everything() -> None:
    one, same, other = (hospitals_dataset(seed, SMALL) for seed in (1, 1, 2))
    rows = np.arange(8)
    assert np.array_equal(pictures(one.inputs, rows), pictures(same.inputs, rows))
    assert np.array_equal(one.labels, same.labels)
    assert not np.array_equal(pictures(one.inputs, rows), pictures(other.inputs, rows))
    assert not np.array_equal(one.labels, other.labels)


def test_a_digest_stands_for_the_pixels() -> None:
    base = hospitals_dataset(1, SMALL).inputs
    assert isinstance(base, HospitalImages)
    assert len({base.digest(index) for index in range(160)}) == 160
    for options, same in (
        (HospitalsOptions(images=120, test_images=40, size=32), True),
        (HospitalsOptions(images=200, test_images=10, size=32), True),
        (HospitalsOptions(images=120, test_images=40, size=33), False),
        (HospitalsOptions(images=120, test_images=40, size=32, shift=0.5), False),
    ):
        images = hospitals_dataset(1, options).inputs
        assert isinstance(images, HospitalImages)
        assert (images.digest(5) == base.digest(5)) is same
        assert np.array_equal(images.load(5), base.load(5)) is same


def test_more_pictures_begin_with_the_fewer() -> None:
    fewer = hospitals_dataset(1, SMALL)
    more = hospitals_dataset(1, HospitalsOptions(images=300, test_images=60, size=32))
    assert np.array_equal(more.labels[:120], fewer.labels[:120])
    assert np.array_equal(more.labels[300:340], fewer.labels[120:])
    assert more.test.sum() == 60
    assert np.array_equal(
        pictures(more.inputs, np.array([300])), pictures(fewer.inputs, np.array([120]))
    )


def test_all_sites_and_classes_occur_in_both_splits() -> None:
    data = hospitals_dataset(0, HospitalsOptions())
    assert data.classes == tuple(sorted(CELL_TYPES))
    assert data.sites is not None
    for split in (data.test, ~data.test):
        assert sorted(set(data.sites[split])) == [f"hospital-{k}" for k in range(1, 6)]
        counts = np.bincount(data.labels[split], minlength=8)
        assert counts.min() > 0.05 * counts.sum()


def site_colours(shift: float) -> NDArray[np.float64]:
    data = hospitals_dataset(0, HospitalsOptions(images=300, test_images=0, size=32, shift=shift))
    pixels = pictures(data.inputs, np.arange(300)).mean(axis=(1, 2))
    assert data.sites is not None
    return np.stack([pixels[data.sites == site].mean(axis=0) for site in np.unique(data.sites)])


def test_sites_differ_by_the_shift() -> None:
    none, some, strong = (site_colours(shift).std(axis=0).mean() for shift in (0.0, 1.0, 2.0))
    assert none < 3 < some < strong


def ridge_accuracy(
    features: NDArray[np.float64], labels: NDArray[np.int64], train: NDArray[np.bool_]
) -> float:
    """Return the best test accuracy of one-hot ridge regression over a range of penalties."""
    features = features - features[train].mean(axis=0)
    features /= features[train].std(axis=0) + 1e-6
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    moments = features[train].T @ features[train]
    targets = features[train].T @ np.eye(8)[labels[train]]
    accuracies = []
    for penalty in (1e1, 1e2, 1e3, 1e4, 1e5):
        head = np.linalg.solve(moments + penalty * np.eye(len(moments)), targets)
        guess = (features[~train] @ head).argmax(axis=1)
        accuracies.append(float((guess == labels[~train]).mean()))
    return max(accuracies)


def test_pixels_and_colours_alone_do_not_tell_cells_apart() -> None:
    data = hospitals_dataset(0, HospitalsOptions(images=1600, test_images=600, size=32))
    images = pictures(data.inputs, np.arange(len(data)))
    coarse = images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    assert ridge_accuracy(coarse, data.labels, ~data.test) < 0.5
    bins = images // 16
    histograms = np.stack(
        [(bins == level).mean(axis=(1, 2)) for level in range(16)], axis=1
    ).reshape(len(images), -1)
    assert ridge_accuracy(np.sqrt(histograms), data.labels, ~data.test) < 0.65


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"images": 3}, "images is 3"),
        ({"test_images": -1}, "test-images is -1"),
        ({"sites": 0}, "sites is 0"),
        ({"size": 8}, "size is 8"),
        ({"shift": -0.1}, "shift is -0.1"),
        ({"shift": float("nan")}, "shift is nan"),
    ],
)
def test_options_are_range_checked(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        HospitalsOptions(**options)  # type: ignore[arg-type]
