"""FedAvg: clients run SGD, the server averages.

McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from strategies.base import Arrays, IterativeStrategy, Reply
from strategies.base.averaging import as_head, weighted_mean


class FedAvg(IterativeStrategy):
    """w ← Σₖ (nₖ / n) wₖ, where client k took local epochs of SGD from w and has nₖ examples.

    The client half, SGD, is the one that every iterative strategy begins with.
    """

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the example-weighted mean."""
        mean = weighted_mean(replies)
        return None if mean is None else as_head(mean)


STRATEGY = FedAvg
