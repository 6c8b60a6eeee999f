"""Blocks of the backbone that are trained by low-rank adapters alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.transfer.boundary import boundary_of
from fedtl.transfer.devices import reproducible_arithmetic
from fedtl.transfer.heads.base import Arrays, Tensors, gradients_of
from fedtl.transfer.linear_layers import LinearLayer, linear_layer
from fedtl.transfer.trained_blocks import TrainedBlocks, norm_of

_DOWN, _UP, _REST = "adapter.down.", "adapter.up.", "adapter.rest."


@dataclass(frozen=True)
class AdaptedBlocks(TrainedBlocks):
    """The backbone above a cut, with W + B A in place of W in linear layers and 1 x 1 convolutions.

    W, of shape ``(o, i)``, stays as it is; A, ``(r, i)``, is ``adapter.down``, and begins normal of
    variance 1/r; B, ``(o, r)``, is ``adapter.up`` and begins at zero (Hu et al., LoRA, ICLR 2022).
    As Aᵀ A is thus the identity on average, a step of SGD along B changes W on average by what a
    step along W would, and one learning rate serves both.

    A server's mean of A and its mean of B are not the mean of B A. The methods differ in what they
    do about that:

    - ``lora``: nothing; both are averaged, each by itself.
    - ``ffa``: A keeps its seeded values, is never sent, and B alone is trained (Sun et al.,
      "Improving LoRA in Privacy-preserving Federated Learning", ICLR 2024, arXiv 2403.12313).
    - ``rolora``: B is trained in rounds 1, 3, ..., A in rounds 2, 4, ... (Chen et al., arXiv
      2502.01755).
    - ``fedex``: both are trained and averaged, and the server sends along what is missing,
      Σ pₖ Bₖ Aₖ less the product of the means, which is added to W (Singhal et al., arXiv
      2410.09432).

    Under ``ffa``, ``rolora`` and ``fedex`` the mean of what clients send is thus the mean of their
    changes of W.

    Attributes:
        method: One of these.
        rank: r.
        seed: What A is drawn from.
        server_round: The round that is trained in, 1 for the first.
    """

    method: str = "lora"
    rank: int = 8
    seed: int = 0
    server_round: int = 1

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`~fedtl.transfer.heads.Head`; the head's come first."""
        found = dict(self.top.shapes)
        for layer, of in _layers(self.network).items():
            if self.method != "ffa":
                found[_DOWN + layer] = (self.rank, of.inputs)
            found[_UP + layer] = (of.outputs, self.rank)
            if self.method == "fedex":
                found[_REST + layer] = (of.outputs, of.inputs)
        return found

    @property
    def kept_back(self) -> frozenset[str]:
        """Names of what is sent to clients and does not come back."""
        return frozenset(name for name in self.shapes if name.startswith(_REST))

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`~fedtl.transfer.heads.Head`: W is unchanged."""
        found = {**self.top.initial(kind, seed)}
        for name, shape in self.shapes.items():
            if name.startswith(_DOWN):
                found[name] = self._drawn(name.removeprefix(_DOWN)).numpy()
            elif name not in found:
                found[name] = np.zeros(shape, np.float32)
        return found

    def in_round(self, server_round: int) -> Self:
        """See :class:`TrainedBlocks`; which factor is trained depends on the round, too."""
        return replace(super().in_round(server_round), server_round=server_round)

    def weights_of(self, parameters: Tensors) -> Tensors:
        """See :class:`TrainedBlocks`: W + B A, and all that has no adapter as it is."""
        found = self.weights
        for layer, of in _layers(self.network).items():
            up, down = parameters[_UP + layer], parameters.get(_DOWN + layer)
            change = up @ (self._drawn(layer).to(up.dtype) if down is None else down)
            if (rest := parameters.get(_REST + layer)) is not None:
                change = change + rest
            name = f"{layer}.{of.weight}"
            weight = found[name].detach()
            change = change.T if of.transposed else change.view_as(weight)
            found[name] = weight + change
        return found

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`~fedtl.transfer.heads.Head`; what the round does not train has none."""
        trained = [name for name in parameters if self._is_trained(name)]
        with reproducible_arithmetic():
            loss, gradients = gradients_of(self.logits, parameters, x, y, weight, trained)
        self.bound(gradients, _length(self.network).expand(len(x)))
        return loss, gradients

    def summable(self, arrays: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return a client's arrays, or the head that was sent, with all of its change of W.

        Args:
            arrays: What a client sent, or that head.
            sent: That head.
        """
        if self.method != "fedex":
            return dict(arrays)
        whole = {
            _REST + layer: sent[_REST + layer] + _product(arrays, layer)
            for layer in _layers(self.network)
        }
        return {**arrays, **whole}

    def settled(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the head that a mean of :meth:`summable` arrays comes to.

        Args:
            arrays: With all of the change of W.
        """
        if self.method != "fedex":
            return dict(arrays)
        rest = {
            _REST + layer: (arrays[_REST + layer] - _product(arrays, layer)).astype(np.float32)
            for layer in _layers(self.network)
        }
        return {**arrays, **rest}

    def _is_trained(self, name: str) -> bool:
        if self.method == "rolora" and name not in self.top.shapes:
            return name.startswith(_UP if self.server_round % 2 else _DOWN)
        return not name.startswith(_REST)

    def _drawn(self, layer: str) -> Tensor:
        """Return the seeded A of a layer."""
        return _drawn(self.network, self.rank, self.seed)[layer]


@lru_cache(maxsize=2)
def _drawn(network: RunConfig, rank: int, seed: int) -> dict[str, Tensor]:
    """Return the seeded A of every layer, which every minibatch needs."""
    found = {}
    # Kept for later calls, which take gradients, whoever asks first.
    with torch.inference_mode(False):
        for place, (layer, of) in enumerate(_layers(network).items()):
            draws = generator(seed, "adapter", place).normal(size=(rank, of.inputs))
            found[layer] = torch.from_numpy((draws / np.sqrt(rank)).astype(np.float32))
    return found


@lru_cache(maxsize=2)
def _length(network: RunConfig) -> Tensor:
    """Return the norm of all W that have adapters, shape ``(1,)``, float64."""
    weights = dict(boundary_of(network).above.named_parameters())
    held = [weights[f"{layer}.{of.weight}"] for layer, of in _layers(network).items()]
    return norm_of([weight.detach()[None] for weight in held])


@lru_cache(maxsize=2)
def _layers(network: RunConfig) -> dict[str, LinearLayer]:
    """Return the layers above a cut that have adapters.

    Raises:
        UsageError: There is none.
    """
    modules = boundary_of(network).above.named_modules()
    found = {name: of for name, layer in modules if (of := linear_layer(layer)) is not None}
    if not found:
        raise UsageError(
            "adapter = lora and its like are for linear layers and 1 x 1 convolutions, and there "
            "is none among the trained blocks; train more of them, or use adapter = none."
        )
    return found


def _product(arrays: Mapping[str, Any], layer: str) -> NDArray[np.float64]:
    """Return B A, float64."""
    up, down = arrays[_UP + layer], arrays[_DOWN + layer]
    found: NDArray[np.float64] = up.astype(np.float64) @ down.astype(np.float64)
    return found
