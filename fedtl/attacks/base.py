"""What an attack is: the labels that hostile clients learn, and what they send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.options import Number, Options

if TYPE_CHECKING:
    from fedtl.config import RunConfig

Arrays = dict[str, NDArray[Any]]


class Attack:
    """What hostile clients do: a subclass writes one of the methods, or both.

    Args:
        config: The run; the options of this class count.
    """

    options = Options(
        attackers=Number(
            0.1, "Fraction of the clients that are hostile (attack).", low=0.0, high=1.0
        )
    )

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def labels(self, labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
        """Return the labels that a hostile client learns; by default its own.

        Args:
            labels: Those of its training rows, shape ``(n,)``.
            classes: Number of classes.
        """
        return labels

    def sent(self, found: Arrays, start: Arrays, rng: np.random.Generator) -> Arrays:
        """Return what a hostile client sends: the same names and shapes; by default what it found.

        Args:
            found: What it found by training.
            start: What it was sent, under each of these names; zero if it was sent nothing.
            rng: Random numbers of this client in this round.
        """
        return found


class Stretched(Attack):
    """An attack on the change Δ that a client found: it sends what it was sent, plus s times Δ."""

    options = Options(
        attack_strength=Number(
            10.0,
            "How far hostile clients go (sign-flip, noise, scale).",
            above=0.0,
            high=1e6,
        )
    )

    def change(self, change: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return what takes the place of the change of one array."""
        return change

    def sent(self, found: Arrays, start: Arrays, rng: np.random.Generator) -> Arrays:
        """See :class:`Attack`."""
        sent: Arrays = {}
        for name, value in found.items():
            change = self.change(value - start[name], rng)
            stretched = start[name] + self.options.attack_strength * change
            sent[name] = np.asarray(stretched, dtype=value.dtype)
        return sent
