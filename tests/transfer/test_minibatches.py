"""Minibatches: every example once an epoch, whatever clients share a block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fedtl.transfer.client_block import STACK, ClientBlock
from fedtl.transfer.minibatches import (
    SCORING_BATCH,
    alike,
    batch_width,
    minibatches,
    scoring_batches,
)

Epoch = dict[int, list[list[int]]]

_sizes = st.lists(st.integers(1, 90), min_size=1, max_size=12)
_batch_sizes = st.integers(1, 40)


def _block(sizes: Sequence[int], partition_ids: Sequence[int] | None = None) -> ClientBlock:
    """Return clients whose rows are scattered over one matrix; feature 0 and label say the row."""
    total = sum(sizes)
    scattered = np.random.default_rng(0).permutation(total + 5)[:total]
    ends = np.cumsum(sizes)
    features = torch.arange(total + 5, dtype=torch.float32)[:, None] * torch.tensor([1.0, -2.0])
    return ClientBlock(
        features=features,
        labels=torch.arange(total + 5),
        rows=[scattered[end - size : end] for size, end in zip(sizes, ends, strict=True)],
        partition_ids=range(len(sizes)) if partition_ids is None else partition_ids,
        classes=total + 5,
        mean=torch.zeros(1, 2),
        scale=torch.ones(1, 2),
    )


def _epoch(
    block: ClientBlock, batch_size: int, *, seed: int = 0, server_round: int = 1, epoch: int = 0
) -> Epoch:
    """Return the row numbers of every minibatch of each client, by partition id."""
    seen: Epoch = {partition: [] for partition in block.partition_ids}
    for width, clients in alike(block, batch_size):
        stack = block.select(clients)
        for batch in minibatches(stack, width, seed=seed, server_round=server_round, epoch=epoch):
            for line, partition in enumerate(stack.partition_ids[: batch.active]):
                seen[partition].append(batch.y[line][batch.weight[line] > 0].tolist())
    return seen


@settings(deadline=None)
@given(_sizes, _batch_sizes)
def test_every_row_of_every_client_is_seen_once_an_epoch(sizes: list[int], batch_size: int) -> None:
    block = _block(sizes)
    for client, batches in _epoch(block, batch_size).items():
        seen = [row for batch in batches for row in batch]
        assert sorted(seen) == sorted(block.rows[client].tolist())


@settings(deadline=None)
@given(_sizes, _batch_sizes)
def test_minibatches_are_cut_as_by_a_torch_data_loader(sizes: list[int], batch_size: int) -> None:
    for client, batches in _epoch(_block(sizes), batch_size).items():
        loader: DataLoader[int] = DataLoader(range(sizes[client]), batch_size)  # type: ignore[arg-type]
        assert [len(batch) for batch in batches] == [len(batch) for batch in loader]


@settings(deadline=None)
@given(_sizes, _batch_sizes)
def test_minibatches_hold_features_beside_labels_and_pad_with_own_rows(
    sizes: list[int], batch_size: int
) -> None:
    block = _block(sizes)
    for width, clients in alike(block, batch_size):
        stack = block.select(clients)
        steps = -(-stack.sizes // width)
        batches = list(minibatches(stack, width, seed=0, server_round=1, epoch=0))
        assert [batch.active for batch in batches] == [
            int((steps > step).sum()) for step in range(int(steps.max()))
        ]
        for batch in batches:
            assert batch.x.shape == (batch.active, width, 2)
            assert batch.y.shape == batch.weight.shape == (batch.active, width)
            assert set(batch.weight.flatten().tolist()) <= {0.0, 1.0}
            assert (batch.weight.sum(1) > 0).all()
            torch.testing.assert_close(batch.x[..., 0], batch.y.float(), rtol=0, atol=0)
            torch.testing.assert_close(batch.x[..., 1], -2 * batch.y.float(), rtol=0, atol=0)
            for line in range(batch.active):
                assert set(batch.y[line].tolist()) <= set(stack.rows[line].tolist())


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=150), _batch_sizes)
def test_stacks_hold_every_client_once_with_those_that_last_longest_first(
    sizes: list[int], batch_size: int
) -> None:
    block = _block(sizes)
    stacks = list(alike(block, batch_size))
    everyone = np.concatenate([clients for _, clients in stacks])
    assert sorted(everyone.tolist()) == list(range(len(sizes)))
    for width, clients in stacks:
        assert 1 <= len(clients) <= STACK
        own = block.sizes[clients]
        assert {batch_width(int(size), batch_size) for size in own} == {width}
        steps = -(-own // width)
        assert (np.diff(steps) <= 0).all()


@settings(deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 512))
def test_a_batch_is_no_wider_than_asked_and_narrower_only_where_one_batch_is_all(
    examples: int, batch_size: int
) -> None:
    width = batch_width(examples, batch_size)
    assert width == batch_size or examples <= width < batch_size
    assert width <= max(8, 2 * examples)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 60)),
        min_size=2,
        max_size=8,
        unique_by=lambda client: client[0],
    ),
    st.data(),
)
def test_a_clients_batches_do_not_depend_on_its_company(
    clients: list[tuple[int, int]], data: st.DataObject
) -> None:
    block = _block([size for _, size in clients], [partition for partition, _ in clients])
    together = _epoch(block, 16)
    chosen = data.draw(st.lists(st.sampled_from(range(len(clients))), min_size=1, unique=True))
    for partition, batches in _epoch(block.select(np.array(chosen)), 16).items():
        assert batches == together[partition]


def test_every_seed_round_epoch_and_client_is_shuffled_anew() -> None:
    block = _block([30, 30])
    same_rows = ClientBlock(
        block.features,
        block.labels,
        [block.rows[0]] * 2,
        block.partition_ids,
        block.classes,
        block.mean,
        block.scale,
    )
    orders = [
        tuple(batch[0])
        for seed in (0, 1)
        for server_round in (1, 2)
        for epoch in (0, 1)
        for batch in _epoch(
            same_rows, 32, seed=seed, server_round=server_round, epoch=epoch
        ).values()
    ]
    assert len(set(orders)) == 16
    assert tuple(block.rows[0].tolist()) not in orders


def test_an_epochs_order_does_not_depend_on_the_batch_size() -> None:
    block = _block([50])
    orders = {
        tuple(row for batch in _epoch(block, batch_size)[0] for row in batch)
        for batch_size in (1, 7, 32, 50, 64)
    }
    assert len(orders) == 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=90))
def test_scoring_visits_every_row_once_and_in_order(sizes: list[int]) -> None:
    ends = np.cumsum(sizes)
    rows = [
        np.random.default_rng(end).permutation(np.arange(end - size, end))
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
    visited: list[list[int]] = [[] for _ in sizes]
    for clients, index, counts in scoring_batches(rows):
        assert len(clients) == len(set(clients.tolist())) <= STACK
        assert index.shape == counts.shape
        assert index.shape[1] <= SCORING_BATCH
        for line, client in enumerate(clients.tolist()):
            assert set(index[line].tolist()) <= set(rows[client].tolist())
            visited[client] += index[line][counts[line]].tolist()
    assert visited == [own.tolist() for own in rows]


def test_a_minibatch_is_as_wide_as_the_next_power_of_two() -> None:
    """Up to eight examples as wide as there are; never wider than asked for."""
    expected = {1: 1, 5: 5, 8: 8, 9: 16, 16: 16, 17: 32, 32: 32, 33: 64, 64: 64, 65: 64}
    assert {examples: batch_width(examples, 64) for examples in expected} == expected
    assert (batch_width(0, 64), batch_width(100, 3)) == (1, 3)
