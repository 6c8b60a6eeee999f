"""AFL: the ridge head of all data, from regularised local solutions, in one round.

He, Tong, Fang, Sun, Li, Chen, Zeng & Zhuang, "AFL: A Single-Round Analytic Approach for Federated
Learning with Pre-trained Models", CVPR 2025 (arXiv 2405.16240).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from fedtl.transfer.client_block import ClientBlock
from strategies.base import Arrays, Reply
from strategies.base.plausible import Told, wrong_gram
from strategies.base.second_moments import symmetric, upper_triangle
from strategies.fed3r import Fed3R

# What γ is cancels out; 1 is the paper's, and makes every client's system solvable.
_GAMMA = 1.0
# What is left of it when it is taken out again, relative to the largest number it was added to.
_NOISE = 1e-9


class AFL(Fed3R):
    """Client k sends Cₖʳ = ZₖᵀZₖ + γI and Wₖʳ = (Cₖʳ)⁻¹ZₖᵀYₖ, its regularised local solution.

    The absolute aggregation law joins two clients, exactly, to W = (C₁ʳ + C₂ʳ)⁻¹(C₁ʳW₁ʳ + C₂ʳW₂ʳ);
    over all K clients, Cʳ = Σ Cₖʳ and CʳWʳ = Σ CₖʳWₖʳ. The RI process then takes the clients'
    regularisation out again, W = (Cʳ - KγI)⁻¹CʳWʳ. Both are linear in Cₖʳ and CₖʳWₖʳ, so the server
    recovers ZₖᵀZₖ and ZₖᵀYₖ reply by reply and inverts once, at the end, where the pairwise law
    inverts for every client.

    That last system is Fed3R's: the paper's has no penalty and no intercept, and a singular one
    where features outnumber examples. So AFL's head is Fed3R's except for rounding.
    """

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Cʳ is symmetric: only its upper triangle, row by row, leaves."""
        return {
            "regularised-gram": (self.width * (self.width + 1) // 2,),
            "local-solution": (self.width, self.classes),
        }

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at what the arrays amount to without γ, which leaves its rounding in them."""
        noise = _NOISE * max(1.0, float(np.abs(arrays["regularised-gram"]).max()))
        sums = self._without_gamma(arrays)
        gram = symmetric(sums["gram"], self.width).numpy()
        return wrong_gram(gram, sums["class-sums"], told, noise=noise)

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return Cₖʳ's upper triangle and Wₖʳ, float64."""
        sums = super().client_statistics(block, client)
        regularised = symmetric(sums["gram"], self.width)
        regularised.diagonal().add_(_GAMMA)
        factor = torch.linalg.cholesky(regularised)
        solution = torch.cholesky_solve(torch.from_numpy(sums["class-sums"]), factor)
        return {
            "regularised-gram": upper_triangle(regularised),
            "local-solution": solution.contiguous().numpy(),
        }

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Sum what the replies amount to without γ, and solve."""
        sums = (
            Reply(reply.examples, self._without_gamma(reply.arrays), reply.client)
            for reply in replies
        )
        return super().aggregate(server_round, head, sums)

    def _without_gamma(self, arrays: Arrays) -> Arrays:
        """Return ZₖᵀZₖ and ZₖᵀYₖ."""
        gram = symmetric(arrays["regularised-gram"], self.width)
        class_sums = gram @ torch.tensor(arrays["local-solution"])
        gram.diagonal().sub_(_GAMMA)
        return {"gram": upper_triangle(gram), "class-sums": class_sums.numpy()}


STRATEGY = AFL
