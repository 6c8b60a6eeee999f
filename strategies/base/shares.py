"""Sums over all clients of a federation, of which only some reply in a round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from strategies.base.halves import Arrays, Reply

_SEEN = "seen"


class SharedSum:
    """(1/n) Σₖ nₖ xₖ over all N clients, kept up to date by the changes of those that reply.

    Σₖ nₖ xₖ is exact, whoever replies: each change enters it once, with its own weight. The total n
    of clients that never replied is not known to a server; it is N times the mean weight of the
    replies so far, which is n itself if everyone replies. A mistaken n only scales the sum, and the
    sum is nought where it should be, so that no limit depends on it.

    Args:
        clients: N.
        by_examples: Whether nₖ is the client's number of examples; if not, it is 1.
    """

    def __init__(self, clients: int, *, by_examples: bool) -> None:
        self._clients, self._by_examples = clients, by_examples
        self._sums: Arrays = {}
        self._seen: NDArray[np.floating] = np.zeros(2)

    def weight(self, reply: Reply) -> float:
        """Return nₖ."""
        return float(reply.examples) if self._by_examples else 1.0

    def add(self, changes: Mapping[str, NDArray[np.floating]], weight: float, replies: int) -> None:
        """Add Σ nₖ Δxₖ of a round's replies.

        Args:
            changes: The sum, by array.
            weight: Σ nₖ over these replies.
            replies: How many there are.
        """
        for name, change in changes.items():
            self._sums[name] = self._sums.get(name, 0.0) + change
        self._seen = self._seen + np.array([weight, replies])

    def mean(self, name: str) -> NDArray[np.floating] | float:
        """Return the sum of an array over n; 0 before anyone replied."""
        if name not in self._sums:
            return 0.0
        weight, replies = self._seen.tolist()
        mean: NDArray[np.floating] = self._sums[name] * (replies / (weight * self._clients))
        return mean

    def state(self) -> Arrays:
        """Return what must be remembered, for checkpoints."""
        return {**self._sums, _SEEN: self._seen}

    def restore(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned."""
        self._sums = {name: value for name, value in state.items() if name != _SEEN}
        self._seen = state[_SEEN]
