"""The rendered data: reproducible, varied, and not separable without looking at shapes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.hospitals import (
    CELL_TYPES,
    HospitalImages,
    HospitalsOptions,
    SiteShift,
    hospitals_dataset,
)
from fedtl.data.hospitals.sites import draw_case_mix, draw_sites
from fedtl.errors import UsageError
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data

SMALL = HospitalsOptions(images=120, test_images=40, size=32)
EFFECTS = [effect.name for effect in fields(SiteShift)]
NOTHING = SiteShift().times(0)


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


@pytest.mark.parametrize("strength", [1.0, 25.0])
def test_a_picture_does_not_depend_on_threads_or_on_other_sites(strength: float) -> None:
    options = replace(SMALL, sites=4, shift=SiteShift().times(strength))
    images = hospitals_dataset(3, options).inputs
    assert isinstance(images, HospitalImages)
    parts = np.array_split(np.arange(160), 23)
    with ThreadPoolExecutor(4) as pool:
        at_once = np.concatenate(list(pool.map(images.load_batch, parts)))
    assert np.array_equal(at_once, images.load_batch(np.arange(160)))

    few = draw_sites(3, 2, options.shift)
    many = draw_sites(3, 30, options.shift)
    for attribute in fields(few):
        values = getattr(many, attribute.name)[:2]
        assert np.array_equal(getattr(few, attribute.name), values), attribute.name


def test_the_seed_determines_everything() -> None:
    one, same, other = (hospitals_dataset(seed, SMALL) for seed in (1, 1, 2))
    rows = np.arange(8)
    assert np.array_equal(pictures(one.inputs, rows), pictures(same.inputs, rows))
    assert np.array_equal(one.labels, same.labels)
    assert not np.array_equal(pictures(one.inputs, rows), pictures(other.inputs, rows))
    assert not np.array_equal(one.labels, other.labels)


PIXELS = [effect for effect in EFFECTS if effect != "prevalence"]


def test_a_digest_stands_for_the_pixels() -> None:
    base = hospitals_dataset(1, SMALL).inputs
    assert isinstance(base, HospitalImages)
    assert len({base.digest(index) for index in range(160)}) == 160
    for options, same in (
        (HospitalsOptions(images=120, test_images=40, size=32), True),
        (HospitalsOptions(images=200, test_images=10, size=32), True),
        (HospitalsOptions(images=120, test_images=40, size=33), False),
        (replace(SMALL, label_noise=0.5), True),
        *((replace(SMALL, shift=replace(SiteShift(), **{name: 0.5})), False) for name in PIXELS),
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
        assert sorted(set(data.sites[split])) == ["Alder", "Birch", "Cedar", "Dogwood", "Elm"]
        counts = np.bincount(data.labels[split], minlength=8)
        assert counts.min() > 0.05 * counts.sum()


def site_colours(shift: SiteShift) -> NDArray[np.float64]:
    data = hospitals_dataset(0, HospitalsOptions(images=300, test_images=0, size=32, shift=shift))
    pixels = pictures(data.inputs, np.arange(300)).mean(axis=(1, 2))
    assert data.sites is not None
    return np.stack([pixels[data.sites == site].mean(axis=0) for site in np.unique(data.sites)])


def test_sites_differ_by_the_shift() -> None:
    none, some, strong = (
        site_colours(SiteShift().times(shift)).std(axis=0).mean() for shift in (0.0, 1.0, 2.0)
    )
    assert none < 3 < some < strong


# What each effect may change of a site, and nothing else.
ALTERS = {
    "stain": {"absorbance"},
    "illumination": {"lamp", "gradient"},
    "focus": {"blur"},
    "noise": {"noise"},
    "jpeg": {"jpeg_quality", "chroma_halved"},
    "magnification": {"magnification"},
    "prevalence": {"volume", "prevalence"},
}


def differences(shift: SiteShift) -> dict[str, float]:
    """Return by how much each property of a site varies between 40 sites."""
    sites = vars(draw_sites(7, 40, shift))
    mix = draw_case_mix(7, 40, shift.prevalence)
    volume = np.diff(mix.volume, prepend=0)
    both: dict[str, NDArray[np.float64]] = {**sites, "volume": volume, "prevalence": mix.prevalence}
    return {name: float(value.std(axis=0).max()) for name, value in both.items()}


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_s_strength_is_its_own(effect: str) -> None:
    assert set(ALTERS) == set(EFFECTS)
    alone = differences(replace(NOTHING, **{effect: 1.0}))
    stronger = differences(replace(NOTHING, **{effect: 2.0}))
    # float32 means of equal numbers may round.
    assert {name for name, spread in alone.items() if spread > 1e-6} == ALTERS[effect]
    everything = differences(SiteShift())
    for name in ALTERS[effect]:
        assert alone[name] == everything[name]
        assert stronger[name] > alone[name] or name == "chroma_halved"
    without = differences(replace(SiteShift(), **{effect: 0.0}))
    assert {name for name, spread in without.items() if spread < 1e-6} == ALTERS[effect]


def test_the_strongest_shift_still_shows_cells() -> None:
    with np.errstate(all="raise", under="ignore"):
        options = replace(SMALL, sites=25, shift=SiteShift().times(25))
        data = hospitals_dataset(0, options)
        images = pictures(data.inputs, np.arange(len(data))).astype(np.float64)
        for values in vars(draw_sites(0, 200, options.shift)).values():
            assert np.isfinite(values).all()
    brightness, contrast = images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2)).max(axis=1)
    assert brightness.min() > 40 and brightness.max() < 245
    assert contrast.min() > 10
    mix = draw_case_mix(0, 200, 25.0)
    assert (np.diff(mix.volume, prepend=0) > 0).all()
    assert (np.diff(mix.prevalence, prepend=0, append=1) > 1e-4).all()


def test_keys_multiply_the_overall_shift() -> None:
    config = RunConfig(
        hospitals_sites=5,
        hospitals_images=400,
        hospitals_test_images=16,
        hospitals_size=16,
        hospitals_shift=5.0,
        hospitals_stain=0.5,
        hospitals_jpeg=0.0,
        hospitals_prevalence=5.0,
    )
    shift = replace(SiteShift().times(5), stain=2.5, jpeg=0.0, prevalence=25.0)
    options = HospitalsOptions(images=400, test_images=16, size=16, shift=shift)
    expected, found = hospitals_dataset(0, options), open_data(config)
    assert np.array_equal(found.labels, expected.labels)
    rows = np.arange(416)
    assert np.array_equal(pictures(found.inputs, rows), pictures(expected.inputs, rows))


def noisy(rate: float, images: int = 20_000) -> Dataset:
    return hospitals_dataset(4, HospitalsOptions(images=images, test_images=500, label_noise=rate))


def test_label_noise_replaces_training_labels_alone_by_any_other() -> None:
    clean, some, most = noisy(0.0), noisy(0.2), noisy(0.9)
    assert clean.keys == some.keys
    assert np.array_equal(clean.labels[clean.test], most.labels[most.test])
    wrong = some.labels != clean.labels
    training = ~clean.test
    # Five standard deviations of a binomial share.
    assert abs(wrong[training].mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / training.sum())
    counts = np.zeros((8, 8))
    np.add.at(counts, (clean.labels[wrong], some.labels[wrong]), 1)
    expected = counts.sum(axis=1, keepdims=True) / 7
    off = ~np.eye(8, dtype=bool)
    statistic = ((counts - expected) ** 2 / expected)[off].sum()
    assert statistic < 48 + 5 * np.sqrt(2 * 48)  # chi-squared, 8 * 6 degrees of freedom
    assert np.array_equal(most.labels[wrong], some.labels[wrong])
    assert np.array_equal(noisy(0.2, 3000).labels[:3000], some.labels[:3000])


def test_label_noise_leaves_pictures_and_their_features_alone(tmp_path: Path) -> None:
    config = RunConfig(
        hospitals_images=200, hospitals_test_images=16, hospitals_size=16, cache=str(tmp_path)
    )
    clean = open_data(config)
    wrong = open_data(config.replace(hospitals_label_noise=0.5))
    rows = np.arange(216)
    assert np.array_equal(pictures(clean.inputs, rows), pictures(wrong.inputs, rows))
    assert (clean.labels != wrong.labels).sum() > 60
    assert prepare_inputs(config, clean, None).computed == 216
    assert prepare_inputs(config, wrong, None).computed == 0


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
        ({"label_noise": 0.95}, "label-noise is 0.95, but must be from 0 to 0.9"),
        ({"label_noise": float("nan")}, "label-noise is nan"),
    ],
)
def test_options_are_range_checked(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        HospitalsOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", [-0.1, 25.1, float("nan")])
@pytest.mark.parametrize("effect", EFFECTS)
def test_strengths_are_range_checked(effect: str, strength: float) -> None:
    with pytest.raises(UsageError, match=f"{effect} is {strength}, but must be from 0 to 25"):
        SiteShift(**{effect: strength})
