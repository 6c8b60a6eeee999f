"""Which rows belong to the unseen site, and what cannot be withheld."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.unseen_site import withhold_site
from fedtl.errors import UsageError
from fedtl.kinds import KINDS
from fedtl.preparation.splitting import split_into_clients

SITES = ("east", "north", "south", "west")


def _dataset(seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(
        name="made",
        classes=("a", "b", "c"),
        labels=rng.integers(0, 3, 200),
        inputs=np.empty((200, 0), np.float32),
        test=rng.random(200) < 0.2,
        sites=np.array(SITES)[rng.integers(0, 4, 200)],
        keys=tuple(map(str, range(200))),
    )


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    site=st.sampled_from(SITES),
    partition=st.sampled_from(sorted(KINDS["partition"].shipped() - {"file", "size-exponential"})),
)
def test_a_site_belongs_to_nobody_and_everything_else_to_someone(
    seed: int, site: str, partition: str
) -> None:
    dataset = withhold_site(_dataset(seed), site, fewest_sites=2)
    assert dataset.sites is not None
    config = RunConfig(
        partition=partition, clients=3, seed=seed, holdout_site=site, min_examples=1, alpha=1.0
    )
    split = split_into_clients(config, dataset)
    away = np.flatnonzero(dataset.sites == site)
    assert split.unseen.tolist() == away.tolist()
    held = np.sort(np.concatenate([*split.train, *split.held_out]))
    here = np.setdiff1d(np.arange(200), away)
    assert held.tolist() == here[~dataset.test[here]].tolist()
    assert split.test.tolist() == here[dataset.test[here]].tolist()
    if partition == "natural":
        assert split.names == [name for name in SITES if name != site]


def test_a_subset_remembers_what_is_unseen() -> None:
    dataset = withhold_site(_dataset(0), "east", fewest_sites=2).subset(np.arange(0, 200, 3))
    assert dataset.sites is not None
    assert dataset.withheld.tolist() == np.flatnonzero(dataset.sites == "east").tolist()
    everything = np.concatenate([dataset.training, dataset.tested, dataset.withheld])
    assert np.sort(everything).tolist() == list(range(len(dataset)))


@pytest.mark.parametrize(
    ("changes", "site", "fewest", "said"),
    [
        ({"sites": None}, "east", 1, "made has no sites; arrange images as site/class/file"),
        ({}, "wset", 1, "made has no such site; did you mean west?"),
        ({}, "7", 1, "made has no such site; its sites are east, north, south, west"),
        ({"sites": np.array(["a"] * 200)}, "a", 1, "leaves training data at no other site"),
        (
            {"sites": np.array(["a", "b"] * 100)},
            "a",
            2,
            "leaves training data only at b, but at least 2 of the other sites must have some",
        ),
        (
            {"sites": np.array(["a", "b"] * 100), "labels": np.array([0, 1] * 100)},
            "a",
            1,
            "leaves training data of only one class, b",
        ),
    ],
)
def test_what_cannot_be_withheld_is_told_in_a_sentence(
    changes: dict[str, Any], site: str, fewest: int, said: str
) -> None:
    with pytest.raises(UsageError, match=r"^--holdout-site") as caught:
        withhold_site(replace(_dataset(0), **changes), site, fewest_sites=fewest)
    assert said in str(caught.value)


def test_many_sites_are_not_all_listed() -> None:
    sites = np.array([f"{index:03d}" for index in range(200)])
    with pytest.raises(UsageError, match=r"its sites are 000, .*, 007 and 192 more$"):
        withhold_site(replace(_dataset(0), sites=sites), "x", fewest_sites=1)
