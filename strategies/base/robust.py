"""Servers that some of their clients may want to mislead: no mean of all heads, but a sturdier one.

A single hostile head moves a mean anywhere. The rules built on this see heads as vectors, in
float64, and bear a number f of hostile ones among n.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedtl.errors import UsageError
from strategies.base.averaging import as_head
from strategies.base.halves import Arrays, Reply
from strategies.base.iterative import IterativeStrategy

Matrix = NDArray[np.float64]


class RobustStrategy(IterativeStrategy):
    """w ← a subclass's rule of the clients' heads, of which f = ⌊``byzantine`` · n⌋ may be hostile.

    The client half is local SGD.
    """

    @abstractmethod
    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the next head, shape ``(P,)``, of heads ``(n, P)``; ``hostile`` is f."""

    @abstractmethod
    def most_hostile(self, clients: int) -> int:
        """Return the largest f that the rule bears among n clients; negative where none will do."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the round's clients.

        Raises:
            UsageError: The rule does not bear as many hostile ones among them as are expected.
        """
        messages = list(super().configure_train(server_round, arrays, config, grid))
        clients, hostile = len(messages), self._expected(len(messages))
        if hostile > self.most_hostile(clients):
            raise UsageError(
                f"strategy = {self.config.strategy!r} does not bear {hostile} hostile clients of "
                f"{clients}, but at most {max(self.most_hostile(clients), 0)}; "
                "use a smaller byzantine or more clients."
            )
        return messages

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Combine the heads that came; where clients failed, f is at most what the rest bear."""
        heads = [
            np.concatenate([reply.arrays[name].ravel() for name in head]).astype(np.float64)
            for reply in replies
        ]
        if not heads:
            return None
        hostile = min(self._expected(len(heads)), max(self.most_hostile(len(heads)), 0))
        combined = self.combine(np.stack(heads), hostile)
        ends = np.cumsum([value.size for value in head.values()])[:-1]
        parts = zip(head.items(), np.split(combined, ends), strict=True)
        return as_head({name: part.reshape(value.shape) for (name, value), part in parts})

    def _expected(self, clients: int) -> int:
        # 0.3 of 10 is 3, whatever the product's last bit.
        return int(self.config.byzantine * clients + 1e-9)


def krum_scores(heads: Matrix, hostile: int) -> NDArray[np.float64]:
    """Return each head's sum of squared distances to its n - f - 2 nearest others, shape ``(n,)``.

    Blanchard, El Mhamdi, Guerraoui & Stainer, "Machine Learning with Adversaries: Byzantine
    Tolerant Gradient Descent", NeurIPS 2017, section 4.
    """
    nearest = max(1, len(heads) - hostile - 2)
    distances = np.array([np.square(heads - one).sum(1) for one in heads])
    np.fill_diagonal(distances, np.inf)
    scores: NDArray[np.float64] = np.sort(distances, axis=1)[:, :nearest].sum(1)
    return scores
