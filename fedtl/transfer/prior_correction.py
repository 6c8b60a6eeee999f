"""A shared head read with a client's own frequencies of classes, which costs nothing to learn.

A head learnt from everybody expects everybody's mix of classes. For a client whose mix differs,
Bayes' rule says by how much its log-odds are off: log π_k - log π for each class (Saerens, Latinne
& Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple
Procedure", Neural Computation 14, 2002, equation 2.4).
"""

from __future__ import annotations

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


def temperature_losses(
    scores: Tensor, labels: Tensor, offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each example's loss under softmax(scores / T + offset) for T on a grid, ``(T, n)``.

    Least-squares outputs and cosines have no scale of their own. Heads that took few steps, or
    large ones, are too little or too sure of themselves, and a correction of log-odds would then
    weigh too much or too little. The grid has fifteen steps a decade.

    Args:
        scores: Shape ``(n, K)``.
        labels: Shape ``(n,)``.
        offset: Shape ``(K,)``.
    """
    shift, target = torch.from_numpy(offset), labels.unsqueeze(1)
    return np.stack(
        [
            -(scores.double() / t + shift).log_softmax(1).gather(1, target).squeeze(1).numpy()
            for t in _TEMPERATURES
        ]
    )


def likeliest_temperature(losses: NDArray[np.float64], guess: float | None = None) -> float:
    """Return the T of the smallest loss.

    A few examples that the head gets right are likeliest at T = 0, whatever others would say. A
    guess is worth what a normal prior for log T is, of half a unit's deviation.

    Args:
        losses: Summed over examples, shape ``(T,)``.
        guess: What T is expected to be; ``None`` if nothing is known of it.
    """
    if guess is not None:
        losses = losses + np.log(_TEMPERATURES / guess) ** 2 / (2 * _LOG_DEVIATION**2)
    return float(_TEMPERATURES[int(np.argmin(losses))])
