"""Robust aggregation: rules that replace the mean of the clients' heads.

A single hostile head moves a mean anywhere. The rules built on this see heads as vectors, in
float64, and tolerate a number f of hostile ones among n.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from itertools import count
from typing import ClassVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.options import Number, Options
from fedtl.transfer.heads import Head
from strategies.base.averaging import as_head
from strategies.base.halves import Arrays, Reply
from strategies.base.iterative import IterativeStrategy

Matrix = NDArray[np.float64]


class RobustStrategy(IterativeStrategy):
    """w ← a subclass's rule of the clients' heads, of which f may be hostile.

    f = ⌊``byzantine`` · n⌋ of n clients, but at least one: a rule that expects no hostile client is
    no robust rule. f is 0 only with ``byzantine`` = 0 or where n clients are too few for any, and
    :attr:`note` then says so. The client half is local SGD.

    Attributes:
        mean_at_zero: Whether the rule is the plain mean of all heads if f = 0.
    """

    options = Options(
        byzantine=Number(0.1, "Fraction of the clients that may be hostile.", low=0.0, high=0.5),
    )
    mean_at_zero: ClassVar[bool] = False

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._unguarded = 0

    @abstractmethod
    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the next head, shape ``(P,)``, of heads ``(n, P)``; ``hostile`` is f."""

    @abstractmethod
    def most_hostile(self, clients: int) -> int:
        """Return the largest f that the rule tolerates of n clients; negative if none will do."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the round's clients.

        Raises:
            UsageError: The rule does not tolerate as many hostile ones among them as are expected.
        """
        messages = list(super().configure_train(server_round, arrays, config, grid))
        clients, hostile = len(messages), self._expected(len(messages))
        if hostile > self.most_hostile(clients):
            raise UsageError(
                f"strategy = {self.config.strategy!r} tolerates at most "
                f"{max(self.most_hostile(clients), 0)} hostile clients of {clients}, but "
                f"byzantine = {self.options.byzantine:g} expects {hostile}; use a smaller "
                "byzantine or more clients."
            )
        return messages

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Combine the heads that came; if clients failed, f is at most what the rest tolerate."""
        heads = [
            np.concatenate([reply.arrays[name].ravel() for name in head]).astype(np.float64)
            for reply in replies
        ]
        if not heads:
            return None
        hostile = min(self._expected(len(heads)), max(self.most_hostile(len(heads)), 0))
        self._unguarded += not hostile and self._expected(self._asked) > 0
        combined = self.combine(np.stack(heads), hostile)
        ends = np.cumsum([value.size for value in head.values()])[:-1]
        parts = zip(head.items(), np.split(combined, ends), strict=True)
        return as_head({name: part.reshape(value.shape) for (name, value), part in parts})

    def server_state(self) -> Arrays:
        """Return in how many rounds no hostile client was expected because too few clients came."""
        return {"unguarded": np.array([float(self._unguarded)])}

    def restore_server_state(self, state: Arrays) -> None:
        """Restore it."""
        self._unguarded = int(state["unguarded"][0])

    @property
    def forewarning(self) -> str:
        """See :class:`HeadStrategy`: whether hostile clients are expected at all."""
        config = self.config
        if self._expected(self._asked):
            return ""
        what = ", which makes it the plain mean of all heads" if self.mean_at_zero else ""
        if not self.options.byzantine:
            return f"{config.strategy} tolerates no hostile client, because byzantine = 0{what}."
        needed = next(n for n in count(self._asked) if self.most_hostile(n) > 0)
        return (
            f"{config.strategy} tolerates no hostile client of {self._asked}{what}; it needs at "
            f"least {needed} clients a round to tolerate one."
        )

    @property
    def note(self) -> str:
        """See :class:`HeadStrategy`."""
        told = [self.forewarning] if self.forewarning else []
        if self._unguarded:
            told.append(
                f"In {self._unguarded} rounds so few clients answered that {self.config.strategy} "
                "tolerated no hostile one."
            )
        return " ".join(told)

    @property
    def _asked(self) -> int:
        """How many clients a round asks."""
        return max(1, round(self.config.fraction * self.config.clients))

    def _expected(self, clients: int) -> int:
        # 0.3 of 10 is 3, whatever the product's last bit.
        expected = int(self.options.byzantine * clients + 1e-9)
        if self.options.byzantine and not expected:
            return min(1, max(self.most_hostile(clients), 0))
        return expected


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
