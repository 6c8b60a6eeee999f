"""FedAvg: clients run SGD, the server averages.

McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from strategies.base import Arrays, IterativeStrategy, Reply


class FedAvg(IterativeStrategy):
    """w ← Σₖ (nₖ / n) wₖ, where client k took local epochs of SGD from w and has nₖ examples.

    The client half, SGD, is the one that every iterative strategy begins with.
    """

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the example-weighted mean, summed in float64 and in partition-id order."""
        total: Arrays = {}
        examples = 0
        for reply in replies:
            examples += reply.examples
            for name, value in reply.arrays.items():
                weighted = value * np.float64(reply.examples)
                if name in total:
                    total[name] += weighted
                else:
                    total[name] = weighted
        if not examples:
            return None
        return {name: (value / examples).astype(np.float32) for name, value in total.items()}


STRATEGY = FedAvg
