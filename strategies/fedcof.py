"""FedCOF: a head from class covariances that the scatter of the clients' class means tells.

Goswami, Magistri, Wang, Twardowski, Bagdanov & van de Weijer, "Covariances for Free: Exploiting
Mean Distributions for Training-free Federated Learning", NeurIPS 2025 (arXiv 2412.14326),
propositions 1 and 2 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, Integer, Options, Reply
from strategies.fedncm import FedNCM, head_of_seen

# Of 0.03, 0.1, 0.3 and 1 the best on three of four data sets, with 100 parts. The paper takes 1 for
# SqueezeNet and ViT-B/16, and 0.1 for MobileNetV2, in units of its own.
_GAMMA = 0.3
# Class means of this many parts tell a covariance; the paper has 100 clients.
_ENOUGH = 100
_FEWEST = 2


class FedCOF(FedNCM):
    """w_c ∝ (Σ_c (N_c - 1)(Σ̂_c + γσ²I))⁻¹ N_c (μ_c - μ), of length 1, with bias -w_cᵀμ.

    Each client sends what FedNCM's send, for each of m random parts of its examples of a class. Of
    the K_c parts that have examples of class c, nₖ,c each and N_c in all,
    Σ̂_c = Σₖ nₖ,c (μₖ,c - μ_c)(μₖ,c - μ_c)ᵀ / (K_c - 1): unbiased where the parts' examples of a
    class are alike. A class of which there is one part has Σ̂_c = 0, as in the authors' code; if
    that is so of every class, the head is that of the class means about the global mean μ.

    The paper has m = 1 and 100 clients. Ten class means tell next to nothing of 500 dimensions, so
    m = ``fedcof-parts``, by default the least with clients × m ≥ 100. A part is a sum over at least
    two examples, or ``min-examples-per-class`` if that is more (people, if groups are known): a
    client makes fewer parts of a class with fewer. Only where it
    has but one example of a class is the sum that example's features, as it is under FedNCM.

    As in the paper, the system leaves out the scatter between classes, and the weights are
    normalised, which takes N_c out again: rare classes weigh as much as frequent ones. Two more
    things differ. The paper's system is about the origin, this one about μ, which the bias stands
    for, so that a shift of the features changes nothing. And γ is in units of σ², the estimated
    variance of a feature, averaged over features: a γ in the features' own units, which the paper
    sets anew for each backbone, is all there is to the system where features are small.
    """

    options = Options(
        "fedcof",
        parts=Integer(
            0,
            "Random parts into which a client deals its examples of a class; 0: enough for 100 in "
            "all.",
            low=0,
            high=1000,
        ),
    )

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self.parts = self.options.parts or -(-_ENOUGH // config.clients)

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """One sum of features and one count per part and class."""
        return {
            "class-sums": (self.parts, self.classes, self.width - 1),
            "class-counts": (self.parts, self.classes),
        }

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """None: a row's part is lost in the scatter of parts' means."""
        return {}

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return the sums and counts of each part and class, float64."""
        return self._of_parts(block, client, self.parts)

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Solve from all replies side by side: the scatter is lost in their sum."""
        told = [reply.arrays for reply in replies]
        if not told:
            return None
        return self.solve({name: np.concatenate([one[name] for one in told]) for name in told[0]})

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Solve from each client's own examples, in as many parts as a federation would have."""
        parts = self.options.parts or _ENOUGH
        identity = Standardisation.identity(block.features.shape[1])
        return [
            AloneHead(self.solve(self._of_parts(block, client, parts)), identity)
            for client in range(len(block))
        ]

    def _of_parts(self, block: ClientBlock, client: int, parts: int) -> Arrays:
        """Deal each class's examples to parts, at random, and sum them up.

        The deal belongs to (seed, partition id).
        """
        rows = block.rows[client]
        rng = generator(self.config.seed, "fedcof-parts", block.partition_ids[client])
        rows = rows[rng.permutation(len(rows))]
        labels = block.labels[torch.from_numpy(rows)].numpy()
        sums = np.zeros((parts, self.classes, self.width - 1))
        counts = np.zeros((parts, self.classes))
        for c in np.unique(labels).tolist():
            own = rows[labels == c]
            part_of = self._parts_of(block, own, parts)
            for part in range(part_of.max() + 1):
                dealt = torch.from_numpy(own[part_of == part])
                sums[part, c] = block.features[dealt].double().sum(0).numpy()
                counts[part, c] = len(dealt)
        return {"class-sums": sums, "class-counts": counts}

    def _parts_of(
        self, block: ClientBlock, own: NDArray[np.int64], parts: int
    ) -> NDArray[np.int64]:
        """Return the part of each row of a class: none is of too few rows, or groups."""
        fewest, units = max(_FEWEST, self.config.min_examples_per_class), np.arange(len(own))
        if block.groups is not None and fewest > _FEWEST:
            units = np.unique(block.groups[own], return_inverse=True)[1]
        made = min(parts, max(1, (units.max() + 1) // fewest))
        part_of: NDArray[np.int64] = units % made
        return part_of

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head of parts, ``(P, K, d)`` and ``(P, K)``, whosever they are; float64."""
        width = self.width - 1
        sums, counts = statistics["class-sums"], statistics["class-counts"]
        of_class = torch.from_numpy(counts.sum(0))
        seen, n = of_class > 0, of_class.sum()
        total = torch.from_numpy(sums.sum(0))
        mean = total.sum(0) / n
        centred = total - of_class[:, None] * mean

        within = torch.zeros(width, width, dtype=torch.float64)
        for c in torch.nonzero(seen).flatten().tolist():
            having = counts[:, c] > 0
            within += (of_class[c] - 1) * class_covariance(sums[having, c], counts[having, c])

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
        sums: Feature sums of one class, of the parts that have it, shape ``(K_c, d)``.
        counts: How many examples each sum is of, shape ``(K_c,)``.
    """
    mean = sums.sum(0) / counts.sum()
    weighted = (sums / counts[:, None] - mean) * np.sqrt(counts)[:, None]
    deviation = torch.from_numpy(weighted)
    return deviation.T @ deviation / max(len(sums) - 1, 1)


STRATEGY = FedCOF
