"""FedNCM: the nearest-class-mean head of all data, from class sums, in one round.

Legate, Bernier, Caccia, Oyallon & Belilovsky, "Guiding The Last Layer in Federated Learning with
Pre-Trained Models", NeurIPS 2023 (arXiv 2306.03937).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.left_out import units
from strategies.base import Arrays, LabelledRows
from strategies.base.plausible import Told, wrong_class_sums, wrong_counts
from strategies.base.second_moments import LinearClosedForm, chunks


class FedNCM(LinearClosedForm):
    """w_c = μ_c / ‖μ_c‖ without bias, where μ_c = Σₖ nₖ,c μₖ,c / Σₖ nₖ,c is the mean of class c.

    Client k sends the sums nₖ,c μₖ,c and the counts nₖ,c. The means are those of the features as
    they are; they and nothing else are normalised, so that the class predicted is the one whose
    mean has the largest cosine with the example. A class that no client has gets logits below the
    others' mean: see :func:`head_of_seen`.
    """

    outputs = "cosine"
    class_prior = "uniform"

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """One sum of features and one count per class."""
        return {"class-sums": (self.classes, self.width - 1), "class-counts": (self.classes,)}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at counts and sums."""
        counts = arrays["class-counts"]
        return wrong_counts(counts, told) or wrong_class_sums(arrays["class-sums"], counts)

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return the client's class sums and counts, float64."""
        sums = torch.zeros(self.classes, self.width, dtype=torch.float64)
        for z, labels in chunks(block, client):
            sums.index_add_(0, labels, z)
        return {
            "class-sums": sums[:, :-1].contiguous().numpy(),
            "class-counts": sums[:, -1].contiguous().numpy(),
        }

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head, float64."""
        sums = torch.from_numpy(statistics["class-sums"])
        seen = torch.from_numpy(statistics["class-counts"]) > 0
        # A mean is its sum but for length, which normalisation takes away.
        weight = torch.nn.functional.normalize(sums, eps=1e-300)
        return head_of_seen(weight, torch.zeros(self.classes, dtype=torch.float64), seen)

    def conclude(self, total: Arrays) -> Arrays:
        """Return the head of all, and remember the sums if clients are to score all rows."""
        if self.leaves_out:
            self._leverage = {name: total[name].astype(np.float32) for name in self.leverage}
        return super().conclude(total)

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """All clients' sums, from which a client takes its rows."""
        return self.uplink

    def left_out(self, rows: LabelledRows, head: Tensors, leverage: Tensors) -> Tensor:
        """Return cosines with means of which each row's own class is without it."""
        sums, counts = leverage["class-sums"].double(), leverage["class-counts"].double()
        found = torch.empty(len(rows.labels), self.classes, dtype=torch.float64)
        single = torch.arange(len(rows.labels))[:, None]
        for here in single if rows.groups is None else units(rows.groups):
            own = torch.nn.functional.one_hot(rows.labels[here], self.classes).double()
            seen = counts - own.sum(0) > 0
            features = rows.features[here]
            said = features @ torch.nn.functional.normalize(sums - own.T @ features, eps=1e-300).T
            found[here] = torch.where(seen, said, said[:, seen].mean(1, keepdim=True) - 1)
        return found


def head_of_seen(weight: Tensor, bias: Tensor, seen: Tensor) -> Arrays:
    """Return the head of ``weight`` ``(K, d)`` and ``bias`` that predicts only classes ``seen``.

    The logit of a class without examples is the mean of the others' less 1: below the largest for
    every input, and, unlike -∞, of finite loss where the class turns up after all.
    """
    weight = torch.where(seen[:, None], weight, weight[seen].mean(0))
    bias = torch.where(seen, bias, bias[seen].mean() - 1)
    return {"weight": weight.numpy(), "bias": bias.numpy()}


STRATEGY = FedNCM
