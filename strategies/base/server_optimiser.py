"""Servers that take the clients' mean change for a gradient and step along it.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar & McMahan, "Adaptive Federated Optimization",
ICLR 2021, algorithm 1 (FedOpt).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.options import Number, Option, Options, Range
from fedtl.transfer.heads import Head
from strategies.base.averaging import as_head, weighted_mean
from strategies.base.halves import Arrays, Reply
from strategies.base.iterative import IterativeStrategy

Moment = NDArray[np.floating]


def server_learning_rate(tune: Range | None = None) -> Option:
    """Return the option of a server's step, to be looked for in a range."""
    told = "Server learning rate; 0 is the strategy's own."
    return Number(0.0, told, low=0.0, high=1e3, tune=tune)


class ServerOptimiser(IterativeStrategy):
    """Δ = Σₖ (nₖ / n) (wₖ - w), then w ← w + a step that a subclass makes of Δ, in float64.

    What it remembers, its moments, goes into checkpoints. The client half is local SGD.
    """

    options = Options("server", learning_rate=server_learning_rate())
    default_learning_rate = 1.0
    moments: ClassVar[tuple[str, ...]]

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._moments: Arrays = {}

    @abstractmethod
    def step(self, change: Moment, moments: dict[str, Moment]) -> Moment:
        """Return one array's step from its mean change, and put its new moments in place."""

    def first(self, moment: str) -> float:
        """Return what every element of a moment is before the first round."""
        return 0.0

    @property
    def learning_rate(self) -> float:
        """η of the server: ``server-learning-rate``, or the strategy's own where that is 0."""
        return self.options.learning_rate or self.default_learning_rate

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Step from the head that was sent along the example-weighted mean change."""
        mean = weighted_mean(replies)
        if mean is None:
            return None
        moved: Arrays = {}
        for name, value in head.items():
            start = value.astype(np.float64)
            moments = {
                moment: self._moments.setdefault(
                    f"{moment}/{name}", np.full(value.shape, self.first(moment))
                )
                for moment in self.moments
            }
            moved[name] = start + self.step(mean[name] - start, moments)
            self._moments |= {f"{moment}/{name}": new for moment, new in moments.items()}
        return as_head(moved)

    def server_state(self) -> Arrays:
        """Return the moments."""
        return dict(self._moments)

    def restore_server_state(self, state: Arrays) -> None:
        """Restore the moments."""
        self._moments = dict(state)
