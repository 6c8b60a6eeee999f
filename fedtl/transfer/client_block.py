"""The examples of one or many clients over one shared feature matrix, and what heads take of them.

The leading axis of everything here is the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.crops import CropRows
from fedtl.transfer.heads.base import Head
from fedtl.transfer.standardisation import Standardisation

STACK = 64
"""How many clients are stepped together at most."""


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
        offset: Added to the logits of a head with blocks while it is trained, shape ``(C, K)``,
            float32; ``None`` for nothing.
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
    offset: Tensor | None = None

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
            offset=None if self.offset is None else self.offset[torch.from_numpy(clients)],
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
        if takes_below(head):
            return self
        return replace(self, below=None, crops=None, offset=None)

    @property
    def stack(self) -> int:
        """How many clients are stepped together."""
        return STACK if self.below is None else 1

    def take(self, index: Tensor, clients: slice | Tensor) -> Tensor:
        """Return what a head is given of rows ``(A, B)``, a line per client.

        That is standardised features, ``(A, B, d)``; for a head whose blocks are trained what is
        below these, and how features are standardised: ``(A, B, D + 2d)``, and then the offset,
        if there is one: ``(A, B, D + 2d + K)``.
        """
        shared = len(self.mean) == 1
        mean, scale = (
            (self.mean, self.scale) if shared else (self.mean[clients], self.scale[clients])
        )
        if self.below is not None:
            crossing = self.below.index_select(0, index.reshape(-1)).view(*index.shape, -1)
            x = given_below(crossing, mean.unsqueeze(1), scale.unsqueeze(1))
            if self.offset is None:
                return x
            offset = self.offset[clients].unsqueeze(1)
            return torch.cat([x, offset.expand(*index.shape, -1)], -1)
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
