"""FedCOF: a head from class covariances that the scatter of the clients' class means tells.

Goswami, Magistri, Wang, Twardowski, Bagdanov & van de Weijer, "Covariances for Free: Exploiting
Mean Distributions for Training-free Federated Learning", NeurIPS 2025 (arXiv 2412.14326),
propositions 1 and 2 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strategies.base import Arrays, Reply
from strategies.fedncm import FedNCM, head_of_seen

# The paper's, for SqueezeNet and ViT-B/16; it takes 0.1 for MobileNetV2.
_GAMMA = 1.0


class FedCOF(FedNCM):
    """w_c ∝ (Σ_c (N_c - 1)(Σ̂_c + γσ²I))⁻¹ N_c (μ_c - μ), of length 1, with bias -w_cᵀμ.

    Clients send what FedNCM's send. Of the K_c clients that have class c, with nₖ,c examples each,
    N_c in all, Σ̂_c = Σₖ nₖ,c (μₖ,c - μ_c)(μₖ,c - μ_c)ᵀ / (K_c - 1): unbiased where the clients'
    examples of a class are alike. Where one client has them all, as when a client trains alone,
    Σ̂_c is 0, as in the authors' code; if that is so of every class, the head is that of the class
    means about the global mean μ.

    As in the paper, the system leaves out the scatter between classes, and the weights are
    normalised, which takes N_c out again: rare classes weigh as much as frequent ones. Two things
    differ. The paper's system is about the origin, this one about μ, which the bias stands for, so
    that a shift of the features changes nothing. And γ is in units of σ², the estimated variance of
    a feature, averaged over features: a γ in the features' own units, which the paper sets anew for
    each backbone, is all there is to the system where features are small.
    """

    alone_note = (
        "fedcof learns covariances from how clients' class means scatter; local-only and "
        "centralised heads have one client each, and so class means alone"
    )

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Solve from all replies side by side: the scatter is lost in their sum."""
        clients = [reply.arrays for reply in replies]
        return self._solve_clients(clients) if clients else None

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head of one client's statistics."""
        return self._solve_clients([statistics])

    def _solve_clients(self, clients: Sequence[Arrays]) -> Arrays:
        width = self.width - 1
        of_class = torch.from_numpy(sum(client["class-counts"] for client in clients))
        seen, n = of_class > 0, of_class.sum()
        total = torch.from_numpy(sum(client["class-sums"] for client in clients))
        mean = total.sum(0) / n
        centred = total - of_class[:, None] * mean

        within = torch.zeros(width, width, dtype=torch.float64)
        for c in torch.nonzero(seen).flatten().tolist():
            having = [client for client in clients if client["class-counts"][c] > 0]
            sums = np.stack([client["class-sums"][c] for client in having])
            counts = np.stack([client["class-counts"][c] for client in having])
            within += (of_class[c] - 1) * class_covariance(sums, counts)

        between = (centred[seen].square() / of_class[seen, None]).sum()
        variance = (within.trace() + between) / (n * width)
        # Σ_c (N_c - 1), but not 0 where every class has a single example.
        freedom = (n - seen.sum()).clamp_min(1)
        within.diagonal().add_(_GAMMA * variance * freedom if variance > 0 else 1.0)
        weight = torch.linalg.solve(within, centred.T).T
        weight = torch.nn.functional.normalize(weight, eps=1e-300)
        return head_of_seen(weight, -weight @ mean, seen)


def class_covariance(sums: NDArray[np.floating], counts: NDArray[np.floating]) -> Tensor:
    """Return the paper's Σ̂_c.

    Args:
        sums: Feature sums of one class, of the clients that have it, shape ``(K_c, d)``.
        counts: How many examples each sum is of, shape ``(K_c,)``.
    """
    mean = sums.sum(0) / counts.sum()
    weighted = (sums / counts[:, None] - mean) * np.sqrt(counts)[:, None]
    deviation = torch.from_numpy(weighted)
    return deviation.T @ deviation / max(len(sums) - 1, 1)


STRATEGY = FedCOF
