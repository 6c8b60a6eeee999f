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


def fitted_temperature(scores: Tensor, labels: Tensor, offset: NDArray[np.float64]) -> float:
    """Return the T that makes softmax(scores / T + offset) likeliest for these labels.

    Least-squares outputs and cosines have no scale of their own. Heads that took few steps, or
    large ones, are too little or too sure of themselves, and a correction of log-odds would then
    weigh too much or too little. T is looked for on a grid of fifteen steps a decade.

    Args:
        scores: Shape ``(n, K)``.
        labels: Shape ``(n,)``.
        offset: Shape ``(K,)``.
    """
    shift = torch.from_numpy(offset)
    target = labels.unsqueeze(1)
    losses = [
        float(-(scores.double() / t + shift).log_softmax(1).gather(1, target).sum())
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])
