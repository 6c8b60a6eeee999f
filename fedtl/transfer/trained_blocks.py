"""Blocks of the backbone with a head on top of them, as one head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from fedtl.config import RunConfig
from fedtl.transfer.boundary import Boundary, boundary_of
from fedtl.transfer.devices import device_named, reproducible_arithmetic
from fedtl.transfer.heads.base import Arrays, Head, Tensors, gradients_of

BLOCKS = "blocks."
"""What the names of the backbone's weights begin with."""
# Inputs that go through the blocks together where nothing is trained.
_TOGETHER = 64
# The part of the rate that is left in the end.
_LEAST = 0.1


@dataclass(frozen=True)
class TrainedBlocks:
    """The backbone above a cut, and a head on the standardised features that it gives.

    What it is given of an example is what crosses the cut, and how features are standardised: see
    :meth:`fedtl.transfer.client_block.ClientBlock.take`. The parameters of the head keep their
    names; those of blocks have the network's own after ``blocks.``. Blocks start from the
    backbone's weights. They run in evaluation mode: there is no dropout, and batch normalisation
    uses and keeps the statistics of the backbone, as minibatches of non-IID clients have others.
    They run on a GPU if the process has one; the head, and all that strategies do, stay on the CPU.

    Attributes:
        top: The form of the head, for d features and K classes.
        network: The configuration of the backbone and its cut: see
            :func:`fedtl.transfer.boundary.only_network`.
        rate: What gradients of blocks are multiplied with.
        rounds: How many rounds the rate takes to fall to a tenth; 0 if it does not fall.
    """

    top: Head
    network: RunConfig
    rate: float
    rounds: int = 0

    takes_below = True

    @property
    def _boundary(self) -> Boundary:
        return boundary_of(self.network)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The backbone's own weights above the cut, by the names that they have there."""
        return dict(self._boundary.above.named_parameters())

    def weights_of(self, parameters: Tensors) -> Tensors:
        """Return the weights of one client's blocks, by the names that they have in the backbone.

        Args:
            parameters: The client's.
        """
        return {
            name.removeprefix(BLOCKS): value
            for name, value in parameters.items()
            if name.startswith(BLOCKS)
        }

    def in_round(self, server_round: int) -> Self:
        """Return the form for a round: its rate has fallen along half a cosine.

        Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5, with a tenth as the least. A constant
        rate leaves the mean of few clients' steps swinging by points from round to round.

        Args:
            server_round: 1 for the first; after the last, the rate is the last round's.
        """
        if not self.rounds:
            return self
        done = (min(server_round, self.rounds) - 1) / self.rounds
        share = _LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * done)) / 2
        return replace(self, rate=self.rate * share, rounds=0)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the backbone with its cut."""
        return self._boundary.fingerprint

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`; the head's come first."""
        blocks = {BLOCKS + name: tuple(value.shape) for name, value in self.weights.items()}
        return {**self.top.shapes, **blocks}

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`: the head's initial parameters, and the backbone's own."""
        blocks = {
            BLOCKS + name: value.detach().numpy().astype(np.float32)
            for name, value in self.weights.items()
        }
        return {**self.top.initial(kind, seed), **blocks}

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`; clients go through their blocks one after the other."""
        size = self._boundary.size
        with reproducible_arithmetic():
            each = [
                self._features({name: value[client] for name, value in parameters.items()}, rows)
                for client, rows in enumerate(x[..., :size])
            ]
        features = torch.stack(each)
        width = features.shape[-1]
        mean, scale, offset = x[..., size:].tensor_split([width, 2 * width], -1)
        logits = self.top.logits(parameters, (features - mean) * scale)
        return logits + offset if offset.shape[-1] else logits

    def _features(self, parameters: Tensors, crossing: Tensor) -> Tensor:
        """Return the features ``(B, d)`` that one client's blocks give.

        Args:
            parameters: The client's.
            crossing: What is below the blocks, ``(B, D)``.
        """
        boundary, device = self._boundary, device_named("auto")
        weights = {name: value.to(device) for name, value in self.weights_of(parameters).items()}
        weights |= boundary.constants_on(device)
        parts = [crossing] if torch.is_grad_enabled() else torch.split(crossing, _TOGETHER)
        given = (part.to(device).reshape(len(part), *boundary.shape) for part in parts)
        above = boundary.above
        return torch.cat([functional_call(above, weights, (part,)).cpu() for part in given])

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`Head`; gradients of blocks are multiplied with ``rate``.

        A client's gradient of all blocks is first cut to the norm of their parameters. So a step
        changes blocks by no more than ``rate`` times the learning rate, as a part of their norm,
        before momentum: what features of a small spread, once standardised, do to the blocks below
        them would otherwise be without bound.
        """
        with reproducible_arithmetic():
            loss, gradients = gradients_of(self.logits, parameters, x, y, weight)
        blocks = [name for name in gradients if name not in self.top.shapes]
        self.bound(gradients, norm_of([parameters[name] for name in blocks]))
        return loss, gradients

    def bound(self, gradients: Tensors, longest: Tensor) -> None:
        """Multiply gradients of what is below the head with ``rate``, and cut them, in place.

        Args:
            gradients: Each ``(C, *shape)``.
            longest: The norm, before that, to which each client's are cut, ``(C,)``, float64.
        """
        below = [name for name in gradients if name not in self.top.shapes]
        found = norm_of([gradients[name] for name in below])
        factor = self.rate * (longest / found.clamp_min(torch.finfo(found.dtype).tiny)).clamp(max=1)
        for name in below:
            gradient = gradients[name]
            gradient.mul_(factor.to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1)))


def norm_of(tensors: list[Tensor]) -> Tensor:
    """Return the norm of each client's tensors together, shape ``(C,)``, float64."""
    squares = [tensor.double().square().flatten(1).sum(1) for tensor in tensors]
    return torch.stack(squares).sum(0).sqrt()
