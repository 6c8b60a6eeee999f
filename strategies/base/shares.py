"""Sums over all clients of a federation, of which only some reply in a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategies.base.halves import Arrays, Reply

_SEEN = "seen"


class Summed(NamedTuple):
    """What the replies of a round add up to.

    Attributes:
        changes: Σ nₖ Δₖ, by array, float64.
        weight: Σ nₖ.
        replies: How many there are.
    """

    changes: Arrays
    weight: float
    replies: int


class SharedSum:
    """(1/n) Σₖ nₖ xₖ over all N clients, kept up to date by the changes of those that reply.

    Σₖ nₖ xₖ is exact, whoever replies: each change enters it once, with its own weight. The total n
    of clients that never replied is not known to a server; it is N times the mean weight of the
    replies so far, which is n itself if everyone replies. A mistaken n only scales the sum, and the
    sum is zero where it should be, so that no limit depends on it.

    Args:
        clients: N.
        by_examples: Whether nₖ is the client's number of examples; if not, it is 1.
    """

    def __init__(self, clients: int, *, by_examples: bool) -> None:
        self._clients, self._by_examples = clients, by_examples
        self._sums: Arrays = {}
        self._seen: NDArray[np.floating] = np.zeros(2)

    def summed(self, replies: Iterable[Reply], change: Callable[[Reply], Arrays]) -> Summed | None:
        """Return Σ nₖ Δₖ of a round; ``None`` if nobody replied with examples.

        Args:
            replies: Of the round.
            change: Returns Δₖ.
        """
        changes: Arrays = {}
        count, total = 0, 0.0
        for reply in replies:
            weight = float(reply.examples) if self._by_examples else 1.0
            count, total = count + 1, total + weight
            for name, value in change(reply).items():
                changes[name] = changes.get(name, 0.0) + weight * value.astype(np.float64)
        return Summed(changes, total, count) if total else None

    def add(self, changes: Mapping[str, NDArray[np.floating]], of_round: Summed) -> None:
        """Add Σ nₖ Δxₖ of a round's replies.

        Args:
            changes: The sum, by array.
            of_round: What the replies add up to.
        """
        for name, change in changes.items():
            self._sums[name] = self._sums.get(name, 0.0) + change
        self._seen = self._seen + np.array([of_round.weight, of_round.replies])

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
        """Restore what :meth:`state` returned."""
        self._sums = {name: value for name, value in state.items() if name != _SEEN}
        self._seen = state[_SEEN]


def moved(reply: Reply, head: Arrays) -> Arrays:
    """Return wₖ - w, float64, of a client that was sent w."""
    return {name: reply.arrays[name] - w.astype(np.float64) for name, w in head.items()}
