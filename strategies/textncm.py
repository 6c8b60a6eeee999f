"""TextNCM: class means and class names together, from class sums, in one round.

The form of a head is that of Huang, Shakeri, Dolz, Boudiaf, Bahig & Ben Ayed, "LP++: A Surprisingly
Strong Linear Probe for Few-Shot CLIP", CVPR 2024 (arXiv 2404.02285), with class means for w_k, as
they start from, and one weight for all classes, which is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from fedtl.options import Number, Options, Range
from fedtl.transfer.heads import Tensors
from fedtl.transfer.left_out import units
from strategies.base import Arrays, LabelledRows
from strategies.fedncm import FedNCM


class TextNCM(FedNCM):
    """w_c = μ_c + α t_c without bias: the mean of class c and the vector of its name.

    Clients send what those of FedNCM do: class sums and counts. t_c, of length 1, is what the
    backbone's text tower makes of the name in the run's ``prompt``; the server knows it without
    anybody's data, and α is ``text-weight``. For a class that no client has, μ_c is the mean of the
    others', so that its name alone tells it from them.
    """

    takes_texts = True
    # CLIP's networks multiply cosines by 100.
    temperature = 0.01
    options = Options(
        "text",
        weight=Number(
            1.0,
            "Weight of the vector of a class's name beside the mean of its examples.",
            low=0.0,
            high=1e6,
            tune=Range(0.01, 100.0),
        ),
    )

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head, float64."""
        sums = torch.from_numpy(statistics["class-sums"])
        counts = torch.from_numpy(statistics["class-counts"])
        weight = means(sums, counts).numpy() + self._named
        return {"weight": weight, "bias": np.zeros(self.classes)}

    def conclude(self, total: Arrays) -> Arrays:
        """Return the head of all, and remember sums and names if clients are to score all rows."""
        return super().conclude({**total, "class-names": self._named})

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """All clients' sums, from which a client takes its rows, and the names' part."""
        return {**self.uplink, "class-names": (self.classes, self.width - 1)}

    def left_out(self, rows: LabelledRows, head: Tensors, leverage: Tensors) -> Tensor:
        """Return outputs with means of which each row's own class is without it."""
        sums, counts = leverage["class-sums"].double(), leverage["class-counts"].double()
        names = leverage["class-names"].double()
        found = torch.empty(len(rows.labels), self.classes, dtype=torch.float64)
        single = torch.arange(len(rows.labels))[:, None]
        for here in single if rows.groups is None else units(rows.groups):
            own, features = one_hot(rows.labels[here], self.classes).double(), rows.features[here]
            found[here] = features @ (means(sums - own.T @ features, counts - own.sum(0)) + names).T
        return found

    @property
    def _named(self) -> NDArray[np.float64]:
        """The names' part of the weights, α t, shape ``(K, d)``."""
        assert self.texts is not None
        return float(self.options.weight) * self.texts.vectors


def means(sums: Tensor, counts: Tensor) -> Tensor:
    """Return each class's mean, ``(K, d)``; that of the others' for a class without examples.

    Args:
        sums: Of features by class, ``(K, d)``.
        counts: Examples by class, ``(K,)``.
    """
    seen = counts > 0
    found = sums / counts.clamp_min(1)[:, None]
    return torch.where(seen[:, None], found, found[seen].mean(0))


STRATEGY = TextNCM
