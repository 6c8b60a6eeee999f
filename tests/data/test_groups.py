"""Rows that belong together stay together: in every partition, held-out part and tuning split."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dealt_rows import METHODS, dataset, partition
from flwr.app import Context, RecordDict
from grouped_rows import grouped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import finished
from numpy.typing import NDArray

from fedtl import simulate
from fedtl.client.own_site import prepare_own
from fedtl.client.policy import configuration_here
from fedtl.client.site_store import kept_site
from fedtl.comparison.tuning import validation_sites
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.features_file import features_file
from fedtl.data.groups import units_of
from fedtl.data.holdout import held_out_split
from fedtl.data.sources import check_classes
from fedtl.data.unseen_site import withhold_site
from fedtl.errors import UsageError
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.splitting import simulated_sites, split_into_clients
from fedtl.transfer.shared_features import Spill

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# What these partitions were before there were groups: SHA-256 of the rows, written by the version
# of the program that knew of none.
BEFORE = (
    ("iid", 3, "5d2e210078c42bb3"),
    ("iid", 7, "c277bee0eb3a466d"),
    ("dirichlet", 3, "5c5ac5edbc1a029f"),
    ("dirichlet", 7, "20c46f0da44f51d7"),
    ("pathological", 3, "b4e95759910d3865"),
    ("pathological", 7, "05f06908c1f65b2c"),
    ("shard", 3, "9c13dedbc73e35f6"),
    ("shard", 7, "f850a252da7b7b09"),
    ("size-linear", 3, "6908c206591805a6"),
    ("size-linear", 7, "5228050e5b2173b0"),
    ("size-square", 3, "c3df6b5f4055a884"),
    ("size-square", 7, "062c18dc37da9019"),
    ("size-exponential", 3, "698b7a560055ce75"),
    ("size-exponential", 5, "737c57fef1dfad23"),
    ("natural", 1, "02c8bc28717b5071"),
)


@pytest.mark.parametrize(("method", "clients", "expected"), BEFORE)
def test_without_groups_nothing_has_changed(method: str, clients: int, expected: str) -> None:
    rng = np.random.default_rng(5)
    labels, test = rng.integers(0, 6, 600), rng.random(600) < 0.2
    data = dataset(labels, test=test, sites=rng.choice(["a", "b", "c"], 600))
    parts, _ = partition(data, method, clients, seed=11)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() + b"|")
    assert digest.hexdigest()[:16] == expected


def owners(data: Dataset, parts: list[NDArray[np.int64]]) -> dict[str, set[int]]:
    """Return the parts that hold rows of each group."""
    assert data.groups is not None
    found: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for group in data.groups[part]:
            found.setdefault(str(group), set()).add(number)
    return found


@quick
@given(
    method=st.sampled_from((*METHODS, "natural")),
    clients=st.integers(1, 8),
    groups=st.integers(8, 60),
    classes=st.integers(2, 4),
    mixed=st.booleans(),
    alpha=st.floats(0.1, 20),
    held_out=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_no_group_is_ever_parted(
    method: str,
    clients: int,
    groups: int,
    classes: int,
    mixed: bool,
    alpha: float,
    held_out: float,
    seed: int,
) -> None:
    data = grouped(seed, groups, classes, mixed=mixed)
    config = RunConfig(
        clients=clients, partition=method, alpha=alpha, held_out=held_out, seed=seed, min_examples=1
    )
    try:
        split = split_into_clients(config, data)
    except UsageError:
        return
    parts = [*split.train, *split.held_out, split.test]
    assert all(len(found) == 1 for found in owners(data, parts).values())
    everything = np.sort(np.concatenate(parts))
    assert np.array_equal(everything, np.arange(len(data)))
    assert all(len(rows) and (np.diff(rows) > 0).all() for rows in split.train)
    # Nor by the search for hyper-parameters, which holds out a part of the training rows.
    spill = Spill()
    features = spill.share(np.zeros((len(data), 1), np.float32))
    rows = np.arange(len(data))
    inputs = Inputs(data, features, rows, "f", [], 0, spill, content=rows)
    carved = validation_sites(simulated_sites(inputs, split), config)
    assert all(
        len(found) == 1 for found in owners(data, [*carved.train, *carved.held_out]).values()
    )


@quick
@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    classes=st.integers(1, 4),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_the_fraction_of_whole_groups_and_never_all(
    sizes: list[int], classes: int, fraction: float, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups % classes
    rows = np.arange(len(groups))
    train, held = held_out_split(labels, rows, fraction, np.random.default_rng(seed), groups)
    assert np.array_equal(np.sort(np.concatenate([train, held])), rows)
    assert not np.intersect1d(groups[train], groups[held]).size
    taken = len(np.unique(groups[held]))
    fewest = int(round(fraction * len(rows)) > 0)
    assert taken == min(max(round(fraction * len(sizes)), fewest), len(sizes) - 1)


def test_equal_groups_are_held_out_by_class() -> None:
    """Twenty patients of 8 rows, 15 ill and 5 well: a fifth is three ill and one well."""
    groups = np.repeat(np.arange(20), 8)
    labels, rows = (groups >= 15).astype(np.int64), np.arange(160)
    chosen = set()
    for seed in range(20):
        held = held_out_split(labels, rows, 0.2, np.random.default_rng(seed), groups)[1]
        assert np.bincount(labels[held]).tolist() == [24, 8]
        chosen.add(tuple(np.unique(groups[held])))
    assert len(chosen) > 15


def test_the_only_patient_of_a_class_is_as_likely_to_be_held_out_as_others() -> None:
    """Five patients of very unequal size, four ill and one well, of whom one is held out."""
    groups = np.repeat(np.arange(5), [40, 10, 25, 5, 20])
    labels, rows, draws = (groups == 4).astype(np.int64), np.arange(100), 800
    times = np.zeros(5)
    for seed in range(draws):
        held = held_out_split(labels, rows, 0.2, np.random.default_rng(seed), groups)[1]
        times[np.unique(groups[held])] += 1
    assert times.sum() == draws
    assert (abs(times / draws - 0.2) < 4 * (0.2 * 0.8 / draws) ** 0.5).all()


def test_a_client_with_one_group_holds_out_nothing() -> None:
    labels, rows = np.arange(30) % 3, np.arange(30)
    groups = np.zeros(30, np.int64)
    train, held = held_out_split(labels, rows, 0.5, np.random.default_rng(0), groups)
    assert (len(train), len(held)) == (30, 0)


def test_a_unit_is_labelled_by_its_most_frequent_class() -> None:
    groups = np.array(["b", "a", "b", "b", "a", "c"])
    labels = np.array([2, 1, 2, 0, 0, 1])
    units = units_of(np.arange(6), labels, groups)
    assert units.labels.tolist() == [0, 2, 1]  # of equals, the lowest
    assert units.sizes.tolist() == [2, 3, 1]
    assert units.rows_of(np.array([2, 1])).tolist() == [0, 2, 3, 5]


def test_groups_count_where_clients_are_too_many() -> None:
    data = replace(dataset(np.arange(40) % 2), groups=np.array([f"p{n // 10}" for n in range(40)]))
    with pytest.raises(UsageError, match="5 clients cannot share 4 groups; ask for at most 4"):
        partition(data, "iid", 5)
    with pytest.raises(UsageError, match="2 clients cannot have 3 groups each: there are 4 groups"):
        partition(data, "dirichlet", 2, min_size=3)


def test_a_class_of_a_single_group_is_refused() -> None:
    labels = np.repeat([0, 0, 1], 10)
    data = replace(dataset(labels), groups=np.repeat(["p", "q", "r"], 10))
    with pytest.raises(UsageError, match="class 1 has a single group"):
        check_classes(data)


def test_a_group_at_two_sites_is_refused() -> None:
    labels = np.arange(8) % 2
    data = replace(
        dataset(labels, sites=np.repeat(["a", "b"], 4)),
        groups=np.array(["p", "p", "q", "q", "q", "q", "r", "r"]),
    )
    with pytest.raises(UsageError, match="would part group q, which has rows at a and at b"):
        partition(data, "natural", 1)
    with pytest.raises(UsageError, match="group q has rows there and at a"):
        withhold_site(data, "b", fewest_sites=1)


def test_lists_of_rows_that_part_a_group_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    data = replace(dataset(np.arange(6) % 2), groups=np.array(["p", "p", "q", "q", "r", "r"]))
    path.write_text(json.dumps([[0, 1, 2], [4, 5, 3]]))
    with pytest.raises(UsageError, match=r"list 1 .* holds row 3 of group q"):
        partition(data, f"file:{path}", 2)
    path.write_text(json.dumps([[0, 1], [4, 5, 3, 2]]))
    assert len(partition(data, f"file:{path}", 2)[0]) == 2


@pytest.mark.parametrize("kind", [np.int64, np.str_, np.float64])
def test_groups_of_a_features_file(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "f.npz"
    group = np.array([7, 7, 3, 3])
    np.savez(path, x=np.ones((4, 2)), y=np.array([0, 1, 0, 1]), group=group.astype(kind))
    found = features_file(path).groups
    assert found is not None
    assert np.unique(found, return_inverse=True)[1].tolist() == [1, 1, 0, 0]
    np.savez(path, x=np.ones((4, 2)), y=np.array([0, 1, 0, 1]), group=group[:3])
    with pytest.raises(UsageError, match="group has shape"):
        features_file(path)


def test_a_real_site_keeps_its_patients_whole_and_holds_out_no_test_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 10)
    x, y = rng.normal(size=(300, 3)).astype(np.float32), group % 2
    x[7] = x[250]  # a copy, of which one side may be held out
    np.savez(tmp_path / "own.npz", x=x, y=y, group=group)
    context = Context(
        run_id=1,
        node_id=3,
        node_config={
            "partition-id": 1,
            "num-partitions": 3,
            "data": f"features:{tmp_path / 'own.npz'}",
            "cache": str(tmp_path / "cache"),
        },
        state=RecordDict(),
        run_config=RunConfig(clients=3).to_mapping(),
    )
    for _ in range(2):  # as it was prepared, and as it was found again
        data = kept_site(configuration_here(context), prepare_own, context).data
        assert len(data.test) == 0
        assert data.groups is not None
        assert not np.intersect1d(data.groups[data.train], data.groups[data.held_out]).size
        assert len(set(data.groups[data.held_out])) == 6
        seen = {row.tobytes() for row in x[data.train]}
        assert not any(row.tobytes() in seen for row in x[data.held_out])
        assert len(data.train) + len(data.held_out) in (299, 300)


def test_clients_of_one_patient_are_told(tmp_path: Path) -> None:
    group = np.repeat(np.arange(6), 20)
    x = np.random.default_rng(0).normal(size=(120, 3)) + group[:, None] % 2
    np.savez(tmp_path / "x.npz", x=x, y=group % 2, group=group, site=group // 2 * (group > 1))
    flags = ["--data", f"features:{tmp_path / 'x.npz'}", "--partition", "iid", "--clients", 6]
    flags += ["--engine", "inline", "--strategy", "fed3r", "--test-fraction", 0]
    end = finished(simulate.main, "--quiet", *flags, "--out", tmp_path / "run")
    assert end.exit_code == 0, end.stderr
    assert "6 clients have a single group, first client-0, and can hold nothing" in (end.stderr)


def test_patients_on_both_sides_of_the_datas_own_split_are_told(tmp_path: Path) -> None:
    group = np.repeat(np.arange(12), 10)
    x = np.random.default_rng(0).normal(size=(120, 3)) + group[:, None] % 2
    np.savez(tmp_path / "x.npz", x=x, y=group % 2, group=group, test=np.arange(120) % 10 == 0)
    flags = ["--data", f"features:{tmp_path / 'x.npz'}", "--partition", "iid", "--clients", 3]
    flags += ["--engine", "inline", "--strategy", "fed3r"]
    end = finished(simulate.main, "--quiet", *flags, "--out", tmp_path / "run")
    assert "12 groups lie both in training and in the test split" in end.stderr
