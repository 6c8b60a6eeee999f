"""Blocks of clients: what a head takes of them, and a part of a block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.standardisation import Standardisation


def _random_block(clients: int, *, shared: bool) -> tuple[ClientBlock, NDArray[np.float32]]:
    draws = np.random.default_rng(3)
    features = draws.standard_normal((20, 4)).astype(np.float32)
    each = [
        Standardisation(
            draws.standard_normal(4).astype(np.float32), draws.random(4).astype(np.float32)
        )
        for _ in range(1 if shared else clients)
    ]
    block = ClientBlock(
        features=torch.from_numpy(features.copy()),
        labels=torch.zeros(20, dtype=torch.int64),
        rows=[np.arange(client, 20, clients) for client in range(clients)],
        partition_ids=range(clients),
        classes=2,
        mean=torch.zeros(1, 4),
        scale=torch.ones(1, 4),
    )
    return block.standardised(each), features


@pytest.mark.parametrize("shared", [True, False])
def test_taken_features_are_standardised_and_the_matrix_is_not_touched(shared: bool) -> None:
    block, features = _random_block(3, shared=shared)
    index = torch.tensor([[3, 5], [0, 0]])
    for clients in (slice(0, 2), torch.tensor([2, 0])):
        taken = block.take(index, clients).numpy()
        for line, client in enumerate([0, 1] if isinstance(clients, slice) else [2, 0]):
            own = 0 if shared else client
            mean, scale = block.mean[own].numpy(), block.scale[own].numpy()
            np.testing.assert_array_equal(taken[line], (features[index[line]] - mean) * scale)
    np.testing.assert_array_equal(block.features.numpy(), features)


@pytest.mark.parametrize("shared", [True, False])
def test_a_selection_keeps_all_that_is_a_clients_own(shared: bool) -> None:
    block, _ = _random_block(4, shared=shared)
    some = block.select(np.array([3, 1]))
    assert len(some) == 2
    assert list(some.partition_ids) == [3, 1]
    np.testing.assert_array_equal(some.rows[0], block.rows[3])
    index = torch.tensor([[2], [2]])
    torch.testing.assert_close(
        some.take(index, slice(0, 2)), block.take(index, torch.tensor([3, 1])), rtol=0, atol=0
    )
