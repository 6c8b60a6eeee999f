"""The ridge head of all data with every class of equal weight, in one round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, Received, Trained
from strategies.base.plausible import Told, wrong_counts, wrong_gram
from strategies.base.second_moments import LinearClosedForm, Standardised, summed, symmetric
from strategies.fed3r import Fed3R


class BalancedRidge(Fed3R):
    """W = argmin Σᵢ ωᵢ ‖Wᵀ(zᵢ - μ)/σ + b - yᵢ‖² + λ d ‖W‖², with ωᵢ = n / (C n_c) for class c.

    Fed3R with weights in inverse proportion to the class's frequency among all clients' training
    examples, what scikit-learn calls ``class_weight="balanced"``: a rare class counts as much as a
    common one, and the head is one for classes that are equally frequent. μ and σ are weighted
    likewise. C counts the classes that anybody has; the weights sum to n.

    Clients are asked for their counts first. The server sends all clients' together with the
    question of Fed3R, and client k answers ZₖᵀΩₖZₖ and ZₖᵀΩₖYₖ: one weighted Gram matrix, instead
    of one a class.
    """

    own_start = True
    starter: ClassCounts
    class_prior = "uniform"

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self.starter = ClassCounts(config, head)

    @property
    def downlink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of the counts n_c, which float32 holds exactly up to 16 million."""
        return self.starter.uplink

    def to_clients(self) -> Arrays:
        """Return n_c."""
        return {"class-counts": self.starter.counts.astype(np.float32)}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at the weighted sums: see :func:`wrong_gram`."""
        weights = _balancing(torch.from_numpy(told.server["class-counts"]).double()).numpy()
        gram = symmetric(arrays["gram"], self.width).numpy()
        return wrong_gram(gram, arrays["class-sums"], told, weights=weights)

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Compute every client's weighted sums; there is no loss to report."""
        counts = received.server["class-counts"].double()
        return [
            Trained(summed(block, client, _balancing(counts[client])), float("nan"))
            for client in range(len(block))
        ]

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """What Fed3R's is, and ω of each class, as if no row's absence changed it."""
        return {**super().leverage, "weights": (self.classes,)}

    def leverage_of(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return it for the weighted sums."""
        weights = _balancing(torch.from_numpy(self.starter.counts).double())
        return {**super().leverage_of(pooled, penalty), "weights": weights.numpy()}

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Solve each client's own system, balanced by its own counts."""
        identity = Standardisation.identity(block.features.shape[1])
        heads = []
        for client in range(len(block)):
            counts = self.starter.client_statistics(block, client)["class-counts"]
            weights = _balancing(torch.from_numpy(counts))
            heads.append(AloneHead(self.solve(summed(block, client, weights)), identity))
        return heads


class ClassCounts(LinearClosedForm):
    """How many training examples of each class there are.

    Attributes:
        counts: n_c of all clients, shape ``(K,)``, float64; zero before they were asked.
    """

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self.counts: NDArray[np.floating] = np.zeros(self.classes)

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """One number per class."""
        return {"class-counts": (self.classes,)}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at the counts."""
        return wrong_counts(arrays["class-counts"], told)

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return the client's counts, float64."""
        labels = block.labels[torch.from_numpy(block.rows[client])]
        return {"class-counts": torch.bincount(labels, minlength=self.classes).double().numpy()}

    def solve(self, statistics: Arrays) -> Arrays:
        """Keep the counts; the head is still zero."""
        self.counts = statistics["class-counts"]
        return {
            "weight": np.zeros((self.classes, self.width - 1)),
            "bias": np.zeros(self.classes),
        }


def _balancing(counts: Tensor) -> Tensor:
    """Return ω of each class, shape ``(K,)``; 0 for a class that nobody has."""
    seen = counts > 0
    return torch.where(seen, counts.sum() / (seen.sum() * counts.clamp_min(1.0)), 0.0)


STRATEGY = BalancedRidge
