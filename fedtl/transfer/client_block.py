"""The examples of one or many clients over one shared feature matrix, and minibatches of them.

The leading axis of everything here is the client. Bits do not depend on which clients are in a
block: a client's minibatches are of fixed shape (the last padded with weight zero) and its shuffle
depends only on its own partition id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.crops import CropRows
from fedtl.determinism import shuffle_keys
from fedtl.transfer.heads.base import Head
from fedtl.transfer.standardisation import Standardisation

SCORING_BATCH = 64
STACK = 64
_EXACT = 8


@dataclass(frozen=True)
class ClientData:
    """What one client holds: rows of a feature matrix.

    Attributes:
        partition_id: Which client this is, 0 … clients-1.
        features: Shape ``(N, d)``, float32; may be shared by all clients and memory-mapped.
        labels: Shape ``(N,)``, int64.
        train: Row numbers to train on.
        held_out: Row numbers to score on.
        test: Row numbers of the data's own test split, which is no client's; may be empty.
        unseen: Row numbers of the holdout-site, which is only scored; may be empty.
        classes: Number of classes K.
        groups: Shape ``(N,)``, int64: rows of equal number belong together, such as a patient's;
            ``None`` if each stands for itself.
        unrepeated: Those of ``train`` that no other training row of anybody equals; ``None`` if all
            count as such.
        below: What is below the trained blocks, shape ``(N, D)``, float32; ``None`` if none are.
        crops: Where crops of training rows lie in the matrix; ``None`` for none.
    """

    partition_id: int
    features: Tensor
    labels: Tensor
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]
    classes: int
    groups: NDArray[np.int64] | None = None
    unrepeated: NDArray[np.int64] | None = None
    below: Tensor | None = None
    crops: CropRows | None = None

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Training rows that can be scored by heads without them; none if there is but one unit.

        A copy of such a row that stays would tell the head the answer.
        """
        unit = self.train if self.groups is None else self.groups[self.train]
        if len(np.unique(unit)) < 2:
            return np.empty(0, np.int64)
        return self.train if self.unrepeated is None else self.unrepeated


@dataclass(frozen=True)
class ClientBlock:
    """C clients that share one feature matrix, as a strategy's client half sees them.

    Attributes:
        features: Shape ``(N, d)``, float32.
        labels: Shape ``(N,)``, int64.
        rows: One array of training row numbers per client, none empty.
        partition_ids: One per client.
        classes: Number of classes K.
        mean: Subtracted from the features, shape ``(C, d)`` or, the same for all, ``(1, d)``.
        scale: Then multiplied with them; shaped like ``mean``.
        effort: Part of its local steps that each client does, from 0 to 1, shape ``(C,)``; ``None``
            where all do all. Each does one at least.
        groups: Shape ``(N,)``: see :class:`ClientData`.
        seeds: What each client's shuffles are drawn from; ``None`` if it is the run's seed.
        below: What is below the trained blocks, shape ``(N, D)``, float32; ``None`` if heads are
            given features.
        crops: Where crops of training rows lie; ``None`` for none.
    """

    features: Tensor
    labels: Tensor
    rows: Sequence[NDArray[np.int64]]
    partition_ids: Sequence[int]
    classes: int
    mean: Tensor
    scale: Tensor
    effort: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    seeds: Sequence[int] | None = None
    below: Tensor | None = None
    crops: CropRows | None = None

    @classmethod
    def unstandardised(
        cls,
        features: Tensor,
        labels: Tensor,
        rows: Sequence[NDArray[np.int64]],
        partition_ids: Sequence[int],
        classes: int,
        *,
        groups: NDArray[np.int64] | None = None,
        below: Tensor | None = None,
        crops: CropRows | None = None,
    ) -> ClientBlock:
        """Return clients that see the features as they are; arguments as of the class."""
        width = features.shape[1]
        mean, scale = torch.zeros(1, width), torch.ones(1, width)
        return cls(
            features,
            labels,
            rows,
            partition_ids,
            classes,
            mean,
            scale,
            groups=groups,
            below=below,
            crops=crops,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, clients: NDArray[np.int64]) -> ClientBlock:
        """Return the block of these of its clients, in this order."""
        shared = len(self.mean) == 1
        return replace(
            self,
            rows=[self.rows[client] for client in clients],
            partition_ids=[self.partition_ids[client] for client in clients],
            mean=self.mean if shared else self.mean[torch.from_numpy(clients)],
            scale=self.scale if shared else self.scale[torch.from_numpy(clients)],
            effort=None if self.effort is None else self.effort[clients],
            seeds=None if self.seeds is None else [self.seeds[client] for client in clients],
        )

    def standardised(self, each: Sequence[Standardisation]) -> ClientBlock:
        """Return the block with a standardisation per client, or one for all."""
        return replace(
            self,
            mean=torch.from_numpy(np.stack([one.mean for one in each])),
            scale=torch.from_numpy(np.stack([one.scale for one in each])),
        )

    def standardisation_of(self, client: int) -> Standardisation:
        """Return how one client's features are standardised."""
        at = 0 if len(self.mean) == 1 else client
        return Standardisation(self.mean[at].numpy(), self.scale[at].numpy())

    def seen_by(self, head: Head) -> ClientBlock:
        """Return the block as a head's form takes it: see :meth:`take`."""
        return self if takes_below(head) else replace(self, below=None, crops=None)

    @property
    def stack(self) -> int:
        """How many clients are stepped together."""
        return STACK if self.below is None else 1

    def take(self, index: Tensor, clients: slice | Tensor) -> Tensor:
        """Return what a head is given of rows ``(A, B)``, a line per client.

        That is standardised features, ``(A, B, d)``; for a head whose blocks are trained what is
        below these, and how features are standardised: ``(A, B, D + 2d)``.
        """
        shared = len(self.mean) == 1
        mean, scale = (
            (self.mean, self.scale) if shared else (self.mean[clients], self.scale[clients])
        )
        if self.below is not None:
            crossing = self.below.index_select(0, index.reshape(-1)).view(*index.shape, -1)
            return given_below(crossing, mean.unsqueeze(1), scale.unsqueeze(1))
        x = self.features.index_select(0, index.reshape(-1)).view(*index.shape, -1)
        return x.sub_(mean.unsqueeze(1)).mul_(scale.unsqueeze(1))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Training examples of each client, shape ``(C,)``."""
        return np.array([len(rows) for rows in self.rows], dtype=np.int64)


def takes_below(head: Head) -> bool:
    """Return whether a head's form has blocks of the backbone below it."""
    return bool(getattr(head, "takes_below", False))


def given_below(crossing: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return what a head with blocks is given, ``(…, D + 2d)``.

    Args:
        crossing: What is below the blocks, ``(…, D)``.
        mean: Subtracted from the features above them, ``(…, d)``.
        scale: Then multiplied with these.
    """
    shape = (*crossing.shape[:-1], mean.shape[-1])
    return torch.cat([crossing, mean.expand(shape), scale.expand(shape)], -1)


def given(head: Head, rows: Tensor, standardisation: Standardisation) -> Tensor:
    """Return what a head is given of rows of features, ``(n, d)``, or ``(n, D + d)`` if it is one
    with blocks.
    """
    if not takes_below(head):
        return standardisation.apply(rows)
    mean, scale = torch.from_numpy(standardisation.mean), torch.from_numpy(standardisation.scale)
    return given_below(rows[..., : rows.shape[-1] - len(mean)], mean, scale)


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
