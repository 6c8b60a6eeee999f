"""All clients of a simulation over one feature matrix: small to send to an actor, quick to open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from flwr.app import Context
from numpy.typing import NDArray

import fedtl
from fedtl.data.crops import CropRows
from fedtl.preparation.site import Identity, Site
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.shared_features import SharedFeatures


@dataclass(frozen=True, eq=False)
class SimulatedSites:
    """All clients of a simulation over one shared feature matrix; an actor opens any of them.

    Attributes:
        features: The matrix.
        labels: Of its rows, shape ``(N,)``.
        train: Rows of the matrix, per client.
        held_out: Rows of the matrix, per client.
        test: Rows of the matrix.
        unseen: Rows of the matrix: the holdout-site.
        class_names: In label order.
        fingerprint: The backbone's.
        groups: Of the matrix's rows, shape ``(N,)``: see :class:`ClientData`; ``None`` for none.
        unrepeated: Rows of the matrix, per client: see :class:`ClientData`.
        crops: Where crops lie in the matrix; ``None`` for none.
        table_schema: See :class:`Site`.
    """

    features: SharedFeatures
    labels: NDArray[np.int64]
    train: list[NDArray[np.int64]]
    held_out: list[NDArray[np.int64]]
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str
    groups: NDArray[np.int64] | None = None
    unrepeated: list[NDArray[np.int64]] | None = None
    crops: CropRows | None = None
    table_schema: str = ""

    def travelling(self) -> SimulatedSites:
        """Return the same with the features in it, for machines that do not see their file."""
        return replace(self, features=self.features.travelling())

    def __call__(self, context: Context) -> Site:
        """Return the site of a context's ``partition-id``."""
        return self.site(int(context.node_config["partition-id"]))

    def site(self, partition_id: int) -> Site:
        """Return one client's site."""
        data = ClientData(
            partition_id=partition_id,
            features=self._tensors[0],
            labels=self._tensors[2],
            train=self.train[partition_id],
            held_out=self.held_out[partition_id],
            test=self.test,
            unseen=self.unseen,
            classes=len(self.class_names),
            groups=self.groups,
            unrepeated=None if self.unrepeated is None else self.unrepeated[partition_id],
            below=self._tensors[1],
            crops=self.crops,
        )
        return Site(data, self.class_names, self.fingerprint, table_schema=self.table_schema)

    @property
    def identity(self) -> Identity:
        """What every site of this simulation has in common."""
        return Identity(
            fedtl.__version__,
            self.fingerprint,
            self.features.feature_size,
            self.class_names,
            self.table_schema,
        )

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        return *self.features.parts(), torch.from_numpy(self.labels.copy())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tensors"}
