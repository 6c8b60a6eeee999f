"""A shared head read with a client's own frequencies of classes, which costs nothing to learn.

A head learnt from everybody expects everybody's mix of classes. For a client whose mix differs,
Bayes' rule says by how much its log-odds are off: log π_k - log π for each class (Saerens, Latinne
& Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple
Procedure", Neural Computation 14, 2002, equation 2.4).

Two things are to be known first. *How sure the head is*: least-squares outputs and cosines have no
scale of their own; heads that took few steps, or large ones, are too little or too sure of
themselves. A temperature mends that. *What it knows already*: the rule supposes that pictures of a
class look alike everywhere. Where stain or optics tell the hospital from the picture, a head has
learnt the hospital's mix with it, and the whole correction would count that twice. A weight between
zero and one says how much of it there is to add. Both are what makes the labels most likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Added to every class's count: a class that a client has not met yet may still come.
_HALF = 0.5
_TEMPERATURES = np.geomspace(0.01, 100.0, 61)
# Of log T about what it is expected to be.
_LOG_DEVIATION = 0.5
# The first is taken where all are as likely.
_WEIGHTS = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
_NUMBERS_AT_ONCE = 2**15


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Per client, logits ↦ logits · scale + offset.

    Attributes:
        scale: Shape ``(C,)``, float32.
        offset: Shape ``(C, K)``, float32.
    """

    scale: Tensor
    offset: Tensor

    def of(self, clients: Tensor, logits: Tensor) -> Tensor:
        """Return adjusted logits ``(A, B, K)`` of these clients ``(A,)``."""
        return logits * self.scale[clients, None, None] + self.offset[clients, None, :]


def log_prior_ratio(
    own: NDArray[np.int64], everyone: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Return log π_k - log π, shape ``(K,)``; half an example is added to every class of both.

    Args:
        own: The client's training examples of each class, shape ``(K,)``.
        everyone: All clients' examples of each class; ``None`` if the head's outputs suppose that
            all classes are as frequent.
    """
    ours = (own + _HALF) / (own + _HALF).sum()
    if everyone is None:
        return np.asarray(np.log(ours))
    theirs = (everyone + _HALF) / (everyone + _HALF).sum()
    return np.asarray(np.log(ours) - np.log(theirs))


@dataclass(frozen=True)
class Reading:
    """How a head's outputs become log-odds at a client: scores / temperature + weight · offset."""

    temperature: float
    weight: float


@dataclass(frozen=True, eq=False)
class RowReadings:
    """A reading for each of n examples.

    Attributes:
        temperature: Shape ``(n,)``, float64.
        weight: Likewise.
    """

    temperature: Tensor
    weight: Tensor

    @classmethod
    def of(cls, each: Sequence[Reading]) -> RowReadings:
        """Return these readings, one per example."""
        temperature, weight = [one.temperature for one in each], [one.weight for one in each]
        return cls(
            torch.tensor(temperature, dtype=torch.float64),
            torch.tensor(weight, dtype=torch.float64),
        )

    def corrected(self, scores: Tensor, offset: Tensor) -> Tensor:
        """Return log-odds ``(n, K)`` of scores ``(n, K)``; the offset is ``(K,)`` or ``(n, K)``."""
        return scores / self.temperature[:, None] + self.weight[:, None] * offset


class Readings:
    """The loss of every example under every reading of a grid.

    The grid has fifteen temperatures a decade and five weights from zero to one.

    Args:
        scores: Shape ``(n, K)``.
        labels: Shape ``(n,)``.
        offset: log π_k - log π, shape ``(K,)``.
        temperature: The only one, if it is known.
        counts: What each example counts, shape ``(n,)``; 1 by default.
    """

    def __init__(
        self,
        scores: Tensor,
        labels: Tensor,
        offset: NDArray[np.float64],
        temperature: float | None = None,
        counts: NDArray[np.float64] | None = None,
    ) -> None:
        self._temperatures = _TEMPERATURES if temperature is None else np.array([temperature])
        shifts = torch.from_numpy(_WEIGHTS[:, None, None] * offset)
        target = labels.expand(len(_WEIGHTS), -1).unsqueeze(2)
        # Of few examples, many temperatures at once: each operation costs as much as its numbers.
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, shifts.shape[0] * scores.numel()))
        temperatures = torch.from_numpy(self._temperatures)[:, None, None, None]
        scores, losses = scores.double(), []
        for some in torch.split(temperatures, at_once):
            log_odds = scores / some + shifts
            rows = target.expand(len(some), -1, -1, -1)
            losses.append(-log_odds.log_softmax(3).gather(3, rows).squeeze(3).numpy())
        # Shape (T, W, n).
        self._losses = np.concatenate(losses)
        if counts is not None:
            self._losses *= counts

    def likeliest(
        self, rows: NDArray[np.integer] | slice = slice(None), guess: float | None = None
    ) -> Reading:
        """Return the reading that makes the labels of these examples likeliest.

        A few examples that the head gets right are likeliest at T = 0, whatever others would say.
        A guess is worth what a normal prior for log T is, of half a unit's deviation.

        Args:
            rows: Which examples.
            guess: What T is expected to be; ``None`` if nothing is known of it.
        """
        losses = self._losses[:, :, rows].sum(2)
        if guess is not None:
            apart = np.log(self._temperatures / guess) / _LOG_DEVIATION
            losses = losses + np.square(apart)[:, None] / 2
        t, w = np.unravel_index(int(np.argmin(losses)), losses.shape)
        return Reading(float(self._temperatures[t]), float(_WEIGHTS[w]))
