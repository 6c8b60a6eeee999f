"""``shots``: so many training examples of each class and client, each number within the next."""

from __future__ import annotations

import numpy as np
import pytest

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.errors import UsageError
from fedtl.preparation.splitting import hold_out, split_into_clients, split_notes

CLASSES = 3


def _data() -> Dataset:
    labels = np.repeat(np.arange(CLASSES), [60, 30, 4])
    return Dataset(
        name="mine",
        classes=("a", "b", "c"),
        labels=labels,
        inputs=np.arange(len(labels) * 2, dtype=np.float32).reshape(-1, 2),
        test=np.zeros(len(labels), bool),
        sites=None,
        keys=[str(row) for row in range(len(labels))],
    )


def test_fewer_shots_are_among_more_and_what_is_held_out_stays() -> None:
    data, rows = _data(), np.arange(94)
    every, held_out = hold_out(RunConfig(), data, rows, 0)
    before = np.empty(0, np.int64)
    for shots in (1, 2, 4, 8, 16):
        train, held = hold_out(RunConfig(shots=shots), data, rows, 0)
        have = np.bincount(data.labels[every], minlength=CLASSES)
        found = np.bincount(data.labels[train], minlength=CLASSES)
        assert found.tolist() == np.minimum(have, shots).tolist()
        assert np.isin(before, train).all()
        assert np.isin(train, every).all()
        assert (np.diff(train) > 0).all()
        assert np.array_equal(held, held_out)
        before = train


def test_shots_are_drawn_from_the_seed_and_the_client() -> None:
    data, rows = _data(), np.arange(94)
    one, _ = hold_out(RunConfig(shots=5), data, rows, 0)
    assert not np.array_equal(hold_out(RunConfig(shots=5, seed=1), data, rows, 0)[0], one)
    assert not np.array_equal(hold_out(RunConfig(shots=5), data, rows, 1)[0], one)
    assert np.array_equal(hold_out(RunConfig(shots=5), data, rows, 0)[0], one)


def test_what_is_not_used_is_told() -> None:
    config = RunConfig(shots=2, clients=3, partition="iid")
    split = split_into_clients(config, _data())
    told = split_notes(config, _data(), split)
    used = sum(map(len, (*split.train, *split.held_out)))
    assert told == [
        f"clients train on at most 2 rows of each class; {94 - used} are not used (shots)"
    ]


def test_a_site_that_sends_nothing_of_few_examples_says_so() -> None:
    with pytest.raises(UsageError, match="fewer than 5 training examples of every class"):
        hold_out(RunConfig(shots=2, min_examples_per_class=5), _data(), np.arange(94), 0)


def test_more_shots_than_anybody_has_are_told() -> None:
    config, data = RunConfig(shots=500, clients=1, partition="iid"), _data()
    split = split_into_clients(config, data)
    most = np.bincount(data.labels[split.train[0]]).max()
    [told] = split_notes(config, data, split)
    assert told.endswith(f"(shots); no client has so many (the most is {most})")
    [enough] = split_notes(config.replace(shots=int(most)), data, split)
    assert enough.endswith("(shots)")
