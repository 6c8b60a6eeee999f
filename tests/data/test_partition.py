"""Partitions: every row to one client, bounded time, the same for the same seed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dealt_rows import METHODS, asked, dataset, partition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.holdout import held_out_split
from fedtl.data.partitions.base import Units
from fedtl.determinism import derived_seed
from fedtl.errors import UsageError
from fedtl.kinds import KINDS

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(
    method=st.sampled_from(METHODS),
    clients=st.integers(1, 12),
    rows=st.integers(40, 300),
    classes=st.integers(2, 6),
    alpha=st.floats(0.05, 50),
    each=st.integers(1, 6),
    seed=st.integers(0, 2**63),
)
def test_every_training_row_goes_to_one_client_or_the_request_is_refused(
    method: str, clients: int, rows: int, classes: int, alpha: float, each: int, seed: int
) -> None:
    rng = np.random.default_rng(rows)
    data = dataset(rng.integers(0, classes, rows), test=rng.random(rows) < 0.2)
    options = {
        "alpha": alpha,
        "classes_per_client": each,
        "shards_per_client": each,
        "seed": seed,
    }
    try:
        parts, names = partition(data, method, clients, **options)
    except UsageError:
        assert method != "iid"
        assert not (method == "dirichlet" and alpha > 10)
        # Every client may want the rarest class, which its rows then go round.
        rarest = np.bincount(data.labels[~data.test], minlength=classes).min()
        assert not (method == "pathological" and classes <= clients <= rarest and each <= classes)
        assert not (method == "shard" and clients * each < 20)
        assert not (method == "size-linear" and clients < 7)
        return
    assert len(parts) == len(names) == clients
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.flatnonzero(~data.test))
    again, _ = partition(data, method, clients, **options)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@quick
@given(clients=st.integers(1, 30), each=st.integers(1, 12), seed=st.integers(0, 1000))
def test_pathological_gives_each_client_so_many_classes(clients: int, each: int, seed: int) -> None:
    data = dataset(np.arange(1200) % 12)
    if clients * each < 12:
        with pytest.raises(UsageError, match="leave some classes without a client"):
            partition(data, "pathological", clients, classes_per_client=each, seed=seed)
        return
    parts, _ = partition(data, "pathological", clients, classes_per_client=each, seed=seed)
    assert {len(np.unique(data.labels[part])) for part in parts} == {each}


def label_shares(data: Dataset, parts: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    counts = np.stack([np.bincount(data.labels[part], minlength=5) for part in parts])
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def test_dirichlet_skew_falls_with_alpha() -> None:
    data = dataset(np.arange(5000) % 5)
    spread = [
        label_shares(data, partition(data, "dirichlet", 10, alpha=alpha)[0]).std()
        for alpha in (0.1, 1.0, 10.0, 1e6)
    ]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 0.005 < 0.2 < spread[0]


def test_iid_parts_are_equal_and_shuffled() -> None:
    data = dataset(np.repeat(np.arange(5), 200))
    parts, names = partition(data, "iid", 10)
    assert {len(part) for part in parts} == {100}
    assert abs(label_shares(data, parts) - 0.2).max() < 0.15
    assert names[3] == "client-3"
    other, _ = partition(data, "iid", 10, seed=1)
    assert not np.array_equal(parts[0], other[0])


def test_shards_are_runs_of_the_rows_sorted_by_class() -> None:
    data = dataset(np.random.default_rng(0).permutation(np.repeat(np.arange(10), 103)))
    parts, _ = partition(data, "shard", 20)
    # 40 shards of at most 26 rows: a shard of a class of 103 rows touches at most two classes.
    assert max(len(np.unique(data.labels[part])) for part in parts) <= 4
    assert {len(part) for part in parts} <= {50, 51, 52}


def test_sizes_grow_as_named() -> None:
    data = dataset(np.arange(5500) % 5)
    linear = np.array([len(part) for part in partition(data, "size-linear", 10)[0]])
    np.testing.assert_allclose(linear, 100 * np.arange(1, 11), atol=5)
    square = np.array([len(part) for part in partition(data, "size-square", 4)[0]])
    np.testing.assert_allclose(square / 5500, np.array([1, 4, 9, 16]) / 30, atol=1e-3)
    exponential = np.array([len(part) for part in partition(data, "size-exponential", 4)[0]])
    np.testing.assert_allclose(exponential[1:] / exponential[:-1], np.e, rtol=0.02)


def _theirs(method: str, clients: int, seed: int, alpha: float, each: int, count: int) -> Any:
    from flwr_datasets import partitioner as flwr

    if method == "iid":
        return flwr.IidPartitioner(clients)
    if method.startswith("size-"):
        growth = method.removeprefix("size-").capitalize()
        return getattr(flwr, f"{growth}Partitioner")(clients)
    plain: dict[str, Any] = {"num_partitions": clients, "partition_by": "label", "shuffle": False}
    if method == "dirichlet":
        plain |= {
            "alpha": alpha,
            "min_partition_size": 0,
            "seed": derived_seed(seed, "partition", 0),
        }
        return flwr.DirichletPartitioner(**plain)
    plain["seed"] = derived_seed(seed, "partition")
    if method == "shard":
        return flwr.ShardPartitioner(num_shards_per_partition=each, **plain)
    return flwr.PathologicalPartitioner(
        num_classes_per_partition=min(each, count),
        class_assignment_mode="first-deterministic",
        **plain,
    )


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_dealt_as_flower_datasets_deals_them(method: str) -> None:
    import datasets

    for seed in range(6):
        rng = np.random.default_rng(seed)
        clients, each, count = int(rng.integers(3, 8)), int(rng.integers(1, 4)), 3
        labels = rng.permutation(np.arange(clients * each * 40) % count)
        alpha = float(rng.choice([0.5, 3.0]))
        request = asked(
            method,
            clients,
            seed=seed,
            alpha=alpha,
            classes_per_client=min(each, count),
            shards_per_client=each,
            min_size=0,
        )
        theirs = _theirs(method, clients, seed, alpha, each, count)
        theirs.dataset = datasets.Dataset.from_dict(
            {"label": labels, "row": np.arange(len(labels))}
        )
        try:
            ours = KINDS["partition"].load(method)(request).deal(Units(labels, count))
        except UsageError:
            assert method in ("dirichlet", "size-exponential"), "a client without any"
            continue
        for client, rows in enumerate(ours):
            assert sorted(rows) == sorted(theirs.load_partition(client)["row"])


def test_natural_is_flower_datasets_natural_id_partition() -> None:
    import datasets
    from flwr_datasets.partitioner import NaturalIdPartitioner

    rng = np.random.default_rng(0)
    sites = rng.choice(["c", "a", "b10", "b9"], 200)
    data = dataset(rng.integers(0, 3, 200), sites=sites)
    parts, names = partition(data, "natural", 77)
    theirs = NaturalIdPartitioner("site")
    theirs.dataset = datasets.Dataset.from_dict({"site": list(sites), "row": list(range(200))})
    assert names == [theirs.partition_id_to_natural_id[k] for k in range(theirs.num_partitions)]
    for client, part in enumerate(parts):
        assert list(part) == list(theirs.load_partition(client)["row"])


def test_natural_skips_sites_that_have_test_rows_only() -> None:
    data = dataset(
        np.array([0, 1, 0, 1]),
        test=np.array([False, False, True, False]),
        sites=["b", "a", "test-only", "b"],
    )
    parts, names = partition(data, "natural", 1)
    assert names == ["a", "b"]
    assert [list(part) for part in parts] == [[1], [0, 3]]


def test_file_lists_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    path.write_text(json.dumps([[5, 1], [2]]))
    parts, names = partition(dataset(np.arange(6) % 2), f"file:{path}", 9)
    assert [list(part) for part in parts] == [[1, 5], [2]]
    assert names == ["client-0", "client-1"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": 1}', "list of lists"),
        ("[]", "list of lists"),
        ("[[0], []]", "list 1 .* is empty"),
        ("[[0], [0]]", "row 0, which list 0 already has"),
        ("[[6]]", "row 6, but rows are numbered from 0 to 5"),
        ("[[-1]]", "row -1, but"),
        ("[[true]]", "true, which is not a row number"),
        ("[[5]]", "row 5, which belongs to the test split"),
    ],
)
def test_file_is_checked(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "parts.json"
    path.write_text(content)
    data = dataset(np.arange(6) % 2, test=np.arange(6) == 5)
    with pytest.raises(UsageError, match=complaint):
        partition(data, f"file:{path}", 2)


@pytest.mark.parametrize(
    ("method", "clients", "changes", "complaint"),
    [
        ("iid", 1001, {}, "at most 1000 clients"),
        ("iid", 0, {}, "at least 1"),
        ("dirichlett", 10, {}, "did you mean 'dirichlet'"),
        ("zzz", 10, {}, "It is one of dirichlet, iid"),
        ("dirichlet", 10, {"alpha": -1.0}, "--alpha is -1"),
        ("dirichlet", 10, {"alpha": float("nan")}, "--alpha is nan"),
        ("dirichlet", 100, {"min_size": 11}, "cannot have 11 rows each"),
        ("dirichlet", 100, {"min_size": 10, "alpha": 0.01}, "raise --alpha"),
        ("dirichlet", 1000, {"alpha": 0.01}, "raise --alpha"),
        ("pathological", 10, {"classes_per_client": 6}, "from 1 to 5"),
        ("pathological", 1000, {"classes_per_client": 5}, "more rows of some class"),
        ("shard", 10, {"shards_per_client": 0}, "at least 1"),
        ("shard", 600, {}, "need 1200 training rows"),
        ("size-exponential", 900, {}, "lower --clients"),
        ("natural", 10, {}, "has no sites"),
        ("file:/nowhere.json", 10, {}, "cannot be read"),
    ],
)
def test_impossible_requests_end_in_a_sentence_at_once(
    method: str,
    clients: int,
    changes: dict[str, Any],
    complaint: str,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    data = dataset(np.arange(1000) % 5)
    start = time.process_time()
    with pytest.raises(UsageError, match=complaint) as caught:
        partition(data, method, clients, **changes)
    assert time.process_time() - start < 3
    assert "\n" not in str(caught.value)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_ten_thousand_clients_take_seconds_at_most() -> None:
    data = dataset(np.arange(50_000) % 10)
    start = time.process_time()
    parts, _ = partition(data, "iid", 10_000)
    assert time.process_time() - start < 3
    assert {len(part) for part in parts} == {5}


@settings(max_examples=200, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_held_out_split_is_stratified(labels: list[int], fraction: float, seed: int) -> None:
    own = np.array(labels)
    # The client's rows lie scattered in a larger data set.
    every = np.zeros(3 * len(own), dtype=np.int64)
    rows = np.arange(len(own)) * 3 + 1
    every[rows] = own
    train, held = held_out_split(every, rows[::-1], fraction, np.random.default_rng(seed))
    wanted = min(round(fraction * len(own)), len(own) - 1)
    assert len(held) == wanted
    assert np.array_equal(np.sort(np.concatenate([train, held])), rows)
    assert (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    share = np.bincount(own, minlength=5) * wanted / len(own)
    assert (abs(np.bincount(every[held], minlength=5) - share) < 1).all()


def test_every_row_is_as_likely_to_be_held_out() -> None:
    """Also the only one of its class, or the accuracy of what is held out would be too good."""
    labels, rows = np.repeat([0, 1, 2], [1, 3, 16]), np.arange(20)
    draws = 1500
    times = np.zeros(20)
    for seed in range(draws):
        times[held_out_split(labels, rows, 0.2, np.random.default_rng(seed))[1]] += 1
    assert (abs(times / draws - 0.2) < 4 * (0.2 * 0.8 / draws) ** 0.5).all()


def test_held_out_of_one_row_is_nothing() -> None:
    train, held = held_out_split(np.array([0, 1]), np.array([1]), 0.9, np.random.default_rng(0))
    assert (list(train), list(held)) == ([1], [])
