"""The test part that is held out of data without a test split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dealt_rows import dataset
from grouped_rows import grouped
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtl.config import RunConfig
from fedtl.data.test_part import with_test_part
from fedtl.preparation.opened_data import open_data


def test_it_is_stratified_by_class_and_site() -> None:
    rng = np.random.default_rng(0)
    labels, sites = rng.choice(3, 3000, p=[0.6, 0.3, 0.1]), rng.choice(["x", "y"], 3000)
    data = with_test_part(dataset(labels, sites=sites), 0.1, seed=4)
    assert data.test_is_held_out
    assert data.test.sum() == 300
    for label in range(3):
        for site in "xy":
            cell = (labels == label) & (sites == site)
            assert abs(data.test[cell].sum() - 0.1 * cell.sum()) <= 1
    assert len(data.training) == 2700


def test_it_depends_on_the_seed_of_the_data_alone() -> None:
    data = dataset(np.arange(400) % 2)
    same = with_test_part(data, 0.1, seed=4).test
    assert np.array_equal(same, with_test_part(data, 0.1, seed=4).test)
    assert not np.array_equal(same, with_test_part(data, 0.1, seed=5).test)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(8, 200),
    classes=st.integers(2, 5),
    mixed=st.booleans(),
    fraction=st.floats(0.02, 0.9),
    seed=st.integers(0, 100),
)
def test_no_group_is_parted_and_every_class_and_site_keeps_training_rows(
    groups: int, classes: int, mixed: bool, fraction: float, seed: int
) -> None:
    before = grouped(seed, groups, classes, mixed=mixed)
    data = with_test_part(before, fraction, seed)
    assert data.groups is not None
    assert data.sites is not None
    if not data.test_is_held_out:
        assert not data.test.any()
        assert len(data.notes) == 1
        return
    assert not np.intersect1d(data.groups[data.test], data.groups[~data.test]).size
    assert np.unique(data.labels[~data.test]).size == np.unique(data.labels).size
    assert np.unique(data.sites[~data.test]).size == np.unique(data.sites).size
    assert data.test.sum() >= max(20, 2 * np.unique(data.labels).size)
    assert len(set(data.groups[data.test])) >= 5


@pytest.mark.parametrize(
    ("rows", "classes", "said"),
    [(150, 2, "15 examples, and fewer than 20"), (300, 50, "30 examples, and fewer than 100")],
)
def test_too_small_a_part_is_told(rows: int, classes: int, said: str) -> None:
    data = with_test_part(dataset(np.arange(rows) % classes), 0.1, 0)
    assert not data.test.any()
    assert said in data.notes[0]


def test_too_few_groups_are_told() -> None:
    labels = np.repeat(np.arange(20) % 2, 50)
    data = replace(dataset(labels), groups=np.repeat([f"p{n}" for n in range(20)], 50))
    assert "2 groups, and fewer than 5 groups" in with_test_part(data, 0.1, 0).notes[0]
    assert with_test_part(data, 0.3, 0).test.sum() == 300


def test_data_with_a_test_split_and_fraction_0_stay_as_they_are() -> None:
    own = dataset(np.arange(400) % 2, test=np.arange(400) < 40)
    assert with_test_part(own, 0.1, 0) is own
    none = dataset(np.arange(400) % 2)
    assert with_test_part(none, 0.0, 0) is none


def test_rows_of_an_unseen_site_are_not_drawn() -> None:
    data = dataset(np.arange(400) % 2, sites=np.repeat(["a", "b"], 200))
    withheld = replace(data, unseen=np.arange(400) < 200)
    found = with_test_part(withheld, 0.2, 0)
    assert not found.test[:200].any()
    assert found.test.sum() == 40


def test_a_site_that_brings_its_own_data_holds_out_no_test_part() -> None:
    config = RunConfig(hospitals_images=400, hospitals_test_images=0, hospitals_size=16)
    assert open_data(config).test.sum() == 40
    assert not open_data(config, own=True).test.any()
