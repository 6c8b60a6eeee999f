"""FedNCM: the nearest-class-mean head of all data, from class sums, in one round.

Legate, Bernier, Caccia, Oyallon & Belilovsky, "Guiding The Last Layer in Federated Learning with
Pre-Trained Models", NeurIPS 2023 (arXiv 2306.03937).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from strategies.base import Arrays
from strategies.fed3r import LinearClosedForm, chunks


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


def head_of_seen(weight: Tensor, bias: Tensor, seen: Tensor) -> Arrays:
    """Return the head of ``weight`` ``(K, d)`` and ``bias`` that predicts only classes ``seen``.

    The logit of a class without examples is the mean of the others' less 1: below the largest for
    every input, and, unlike -∞, of finite loss where the class turns up after all.
    """
    weight = torch.where(seen[:, None], weight, weight[seen].mean(0))
    bias = torch.where(seen, bias, bias[seen].mean() - 1)
    return {"weight": weight.numpy(), "bias": bias.numpy()}


STRATEGY = FedNCM
