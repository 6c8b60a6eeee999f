"""Minibatches of a block's clients, to step on and to score.

Bits do not depend on which clients are in a block: a client's minibatches are of fixed shape (the
last padded with weight zero) and its shuffle depends only on its own partition id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.determinism import shuffle_keys
from fedtl.transfer.client_block import STACK, ClientBlock

SCORING_BATCH = 64
_EXACT = 8


@dataclass(frozen=True)
class Minibatch:
    """One step of the clients that still have examples.

    Attributes:
        active: How many clients step: the first A of the block.
        x: Standardised features ``(A, B, d)``.
        y: Labels ``(A, B)``.
        weight: 1 for an example, 0 for padding, ``(A, B)``.
    """

    active: int
    x: Tensor
    y: Tensor
    weight: Tensor


def batch_width(examples: int, batch_size: int) -> int:
    """Return how many lines a client's batches have: its size, a power of two, or ``batch_size``.

    A client of five examples needs no batch of 32; powers of two keep clients of many sizes in few
    stacks. The width depends only on the client's own size, so its products have the same shape,
    and its head the same bits, in any block.
    """
    if examples > _EXACT:
        examples = 1 << (examples - 1).bit_length()
    return min(batch_size, max(examples, 1))


def alike(block: ClientBlock, batch_size: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Split a block into stacks that can be stepped together.

    Yields:
        The batch width, and the clients that have it ``(A,)``, by falling number of minibatches so
        that those that still have examples are always the first ones. A stack holds at most
        :data:`STACK` clients, whose heads then stay in the processor's cache.
    """
    widths = np.array([batch_width(int(size), batch_size) for size in block.sizes])
    for width in np.unique(widths).tolist():
        clients = np.flatnonzero(widths == width)
        clients = clients[np.argsort(block.sizes[clients] // -width, kind="stable")]
        for start in range(0, len(clients), block.stack):
            yield width, clients[start : start + block.stack]


def steps_of(sizes: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """Return how many minibatches clients of these sizes have in an epoch."""
    return -(-sizes // batch_size)


def minibatches(
    block: ClientBlock,
    batch_size: int,
    *,
    seed: int,
    server_round: int,
    epoch: int,
    steps: NDArray[np.int64] | None = None,
) -> Iterator[Minibatch]:
    """Shuffle every client's rows and cut them into minibatches of ``batch_size``: one epoch.

    The shuffle belongs to ``(seed, round, epoch, partition id)``. As with a PyTorch data loader a
    client's last minibatch may hold fewer examples; here it is padded with weight zero.

    Args:
        block: Clients by falling number of minibatches (see :func:`alike`).
        batch_size: Lines of a minibatch, B.
        seed: The run's; the block's ``seeds``, if it has some, stand in its place.
        server_round: Round, 1 for the first.
        epoch: Epoch within the round, 0 for the first.
        steps: How many minibatches each client takes, shape ``(C,)``, none more than the one before
            it; by default all that it has.
    """
    sizes = block.sizes
    first = np.cumsum(sizes) - sizes
    client = np.repeat(np.arange(len(block)), sizes)
    position = np.arange(len(client)) - first[client]
    rows = np.concatenate(block.rows)
    streams = np.asarray(block.partition_ids, dtype=np.int64)[client]
    purpose = f"shuffle/{server_round}/{epoch}"
    if block.seeds is None:
        keys = shuffle_keys(seed, purpose, streams, position)
    else:
        keys = np.empty(len(client), np.uint64)
        for one, of_client in enumerate(block.seeds):
            own = slice(first[one], first[one] + sizes[one])
            keys[own] = shuffle_keys(of_client, purpose, streams[own], position[own])
    if steps is None:
        steps = steps_of(sizes, batch_size)
    shape = (int(steps[0]), len(block), batch_size)
    index = np.broadcast_to(rows[first][None, :, None], shape).copy()
    weight = np.zeros(shape, np.float32)
    order = np.lexsort((keys, client))
    shuffled = rows[order]
    taken = position // batch_size < steps[client]
    place = position // batch_size, client, position % batch_size
    place = place[0][taken], place[1][taken], place[2][taken]
    index[place] = shuffled[taken]
    weight[place] = 1.0
    shown = index
    if block.crops is not None:
        shown = index.copy()
        # Sorted by their high bits, which say nothing of the remainder.
        shown[place] = block.crops.shown(shuffled, keys[order])[taken]
    for step in range(shape[0]):
        active = int((steps > step).sum())
        step_rows = torch.from_numpy(index[step, :active])
        yield Minibatch(
            active=active,
            x=block.take(torch.from_numpy(shown[step, :active]), slice(0, active)),
            y=block.labels[step_rows],
            weight=torch.from_numpy(weight[step, :active]),
        )


def scoring_batches(
    rows: Sequence[NDArray[np.int64]], most: int = STACK
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Cut each client's rows, in order, into padded batches of :data:`SCORING_BATCH` or fewer.

    Args:
        rows: Of each client.
        most: How many clients are scored together.

    Yields:
        The clients concerned ``(A,)``, their row numbers ``(A, B)``, and which of them count
        ``(A, B)``, bool.
    """
    sizes = np.array([len(client_rows) for client_rows in rows], dtype=np.int64)
    widths = np.array([batch_width(int(size), SCORING_BATCH) for size in sizes])
    for width in np.unique(widths[sizes > 0]).tolist():
        alike = np.flatnonzero((widths == width) & (sizes > 0))
        alike = alike[np.argsort(sizes[alike] // -width, kind="stable")]
        for start in range(0, len(alike), most):
            stack = alike[start : start + most]
            for step in range(int(-(-sizes[stack[0]] // width))):
                clients = stack[sizes[stack] > step * width]
                index = np.empty((len(clients), width), np.int64)
                counts = np.zeros(index.shape, bool)
                for line, client in enumerate(clients):
                    part = rows[client][step * width : (step + 1) * width]
                    index[line, : len(part)] = part
                    index[line, len(part) :] = part[0]
                    counts[line, : len(part)] = True
                yield clients, torch.from_numpy(index), torch.from_numpy(counts)
