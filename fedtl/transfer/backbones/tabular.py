"""``--backbone tabular``: rows of a table as numbers, and random functions of them if asked for."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.options import Integer, Options
from fedtl.transfer.backbones.base import DEFAULT, Backbone, Family
from fedtl.transfer.table_preparation import TablePreparation

_RULE = "rows of a table 1"


class Tabular(Family):
    """Numbers in standard deviations, a feature for each category and for gaps; none is learnt."""

    options = Options(
        random_features=Integer(
            0,
            "Random ReLU functions of a row beside its numbers, so that a head is not linear.",
            low=0,
            high=20_000,
            most_at_sites=5_000,
        ),
    )

    def load(self) -> Backbone:
        """See :class:`Family`."""
        if self.config.weights != DEFAULT:
            raise UsageError("backbone = tabular has no weights; leave weights out.")
        if self.schema is None:
            raise UsageError(
                "backbone = tabular takes rows of a table, and the data hold none; choose another "
                "backbone, or if they are a table with texts, read its rows: --text-column none"
            )
        count, width = self.options.random_features, self.schema.width
        network: nn.Module = nn.Identity()
        if count:
            network = RandomFeatures(
                width, len(self.schema.columns), count, self.config.inputs_seed
            )
        preparation = TablePreparation(self.schema)
        return self.frozen(network, width + count, preparation, rule=f"{_RULE} {count}")


BACKBONE = Tabular


class RandomFeatures(nn.Module):
    """A row's numbers, and ReLU of random linear functions of them.

    Rahimi & Recht, "Weighted Sums of Random Kitchen Sinks", NIPS 2008: a head that is linear in
    functions which nobody has learnt comes as near to any function as one that is learnt whole,
    and of such a head a sum of statistics is enough.

    Args:
        width: How many numbers a row has.
        columns: How many columns they are of. Each adds about 1 to the square of a row's length.
        count: How many functions.
        seed: Determines them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, columns: int, count: int, seed: int) -> None:
        super().__init__()
        draws = generator(seed, "random features of a table")
        # Half of the variance, which is 1 in all, is the row's and half is the bias's.
        weight = draws.standard_normal((count, width)) / math.sqrt(2 * columns)
        bias = draws.standard_normal(count) / math.sqrt(2)
        self.register_buffer("weight", torch.from_numpy(weight.astype(np.float32)))
        self.register_buffer("bias", torch.from_numpy(bias.astype(np.float32)))

    def forward(self, rows: Tensor) -> Tensor:
        """Return shape ``(n, width + count)`` for rows of shape ``(n, width)``."""
        return torch.cat([rows, torch.relu(nn.functional.linear(rows, self.weight, self.bias))], 1)
