"""Classifier heads over a leading client axis.

A head is a set of named parameters and two pure functions on them. Every tensor has a leading
client axis, so that one actor computes many clients in one batched product and a real site calls
the same function with one. Batched products of fixed batch shape give each client the same bits
however many clients are stacked (with one thread: see :func:`one_thread`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.determinism import generator

Arrays = dict[str, NDArray[np.float32]]
Tensors = dict[str, Tensor]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run head arithmetic on one thread: with more, a lone client's products change a last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Head(Protocol):
    """What a strategy needs of a head; C clients, batches of B examples, d features, K classes."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, without the client axis."""
        ...

    def initial(self, kind: str, seed: int) -> Arrays:
        """Return the initial parameters.

        Args:
            kind: ``"zero"``, ``"seeded"``, or ``"auto"``: zero where that has a gradient.
            seed: The run's seed.
        """
        ...

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """Return logits ``(C, B, K)`` for features ``(C, B, d)``."""
        ...

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """Return each client's weighted mean cross-entropy ``(C,)`` and its gradients.

        Args:
            parameters: Each ``(C, *shape)``.
            x: Features ``(C, B, d)``.
            y: Labels ``(C, B)``, int64.
            weight: Weight of each example ``(C, B)``; 0 for padding. Each client's sum is its
                mean's denominator and must be positive.
        """
        ...


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum(1, keepdim=True)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Return each client's matrix product, with the same bits for one client as for many."""
    if len(a) == 1 and 1 in (*a.shape[1:], b.shape[2]):
        # A lone matrix times a lone vector, here or in a gradient, goes to another routine, which
        # sums in another order.
        return torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1))[:1]
    return torch.bmm(a, b)


@dataclass(frozen=True)
class LinearHead:
    """Multinomial logistic regression: logits = x Wᵀ + b, W of shape (K, d)."""

    features: int
    classes: int

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        return {"weight": (self.classes, self.features), "bias": (self.classes,)}

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`."""
        return _initial(self.shapes, "zero" if kind == "auto" else kind, seed)

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self._logits_by_class(parameters, x).transpose(1, 2)

    def _logits_by_class(self, parameters: Tensors, x: Tensor) -> Tensor:
        """Return logits ``(C, K, B)``: W xᵀ takes half of x Wᵀ's time, and its softmax a tenth."""
        return _products(parameters["weight"], x.transpose(1, 2)).add_(
            parameters["bias"].unsqueeze(2)
        )

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`Head`; written out: a third of automatic differentiation's time."""
        share = _normalised(weight)
        log_p = self._logits_by_class(parameters, x).log_softmax(1)
        index = y.unsqueeze(1)
        loss = -(log_p.gather(1, index).squeeze(1) * share).sum(1)
        residual = log_p.exp_()
        residual.scatter_add_(1, index, residual.new_full((1, 1, 1), -1.0).expand_as(index))
        residual.mul_(share.unsqueeze(1))
        return loss, {"weight": _products(residual, x), "bias": residual.sum(2)}


class _DifferentiatedHead:
    """A head whose gradients come from automatic differentiation of its logits."""

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        raise NotImplementedError

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`Head`."""
        with torch.inference_mode(False), torch.enable_grad():
            # What was made in inference mode can be differentiated only as a copy.
            leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
            x, y, weight = x.clone(), y.clone(), weight.clone()
            log_p = self.logits(leaves, x).log_softmax(2)
            chosen = log_p.gather(2, y.unsqueeze(2)).squeeze(2)
            loss = -(chosen * _normalised(weight)).sum(1)
            gradients = torch.autograd.grad(loss.sum(), list(leaves.values()))
        return loss.detach(), dict(zip(leaves, gradients, strict=True))


@dataclass(frozen=True)
class MLPHead(_DifferentiatedHead):
    """One hidden layer of rectified units."""

    features: int
    classes: int
    hidden: int

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        return {
            "hidden.weight": (self.hidden, self.features),
            "hidden.bias": (self.hidden,),
            "output.weight": (self.classes, self.hidden),
            "output.bias": (self.classes,),
        }

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`."""
        return _initial(self.shapes, kind, seed)

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        hidden = _products(x, parameters["hidden.weight"].transpose(1, 2))
        hidden = (hidden + parameters["hidden.bias"].unsqueeze(1)).relu()
        output = _products(hidden, parameters["output.weight"].transpose(1, 2))
        return output + parameters["output.bias"].unsqueeze(1)


@dataclass(frozen=True)
class CosineHead(_DifferentiatedHead):
    """Scaled cosine similarity to one direction per class (Gidaris & Komodakis, CVPR 2018)."""

    features: int
    classes: int
    scale: float

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        return {"weight": (self.classes, self.features)}

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`."""
        return _initial(self.shapes, kind, seed)

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        directions = torch.nn.functional.normalize(parameters["weight"], dim=2)
        return self.scale * _products(
            torch.nn.functional.normalize(x, dim=2), directions.transpose(1, 2)
        )


def _initial(shapes: Mapping[str, tuple[int, ...]], kind: str, seed: int) -> Arrays:
    """Return zeros, or weights uniform in ±1/√fan-in (torch.nn.Linear's rule) and zero biases."""
    arrays: Arrays = {}
    for index, (name, shape) in enumerate(shapes.items()):
        if kind == "zero" or len(shape) == 1:
            arrays[name] = np.zeros(shape, np.float32)
        else:
            bound = shape[-1] ** -0.5
            draws = generator(seed, "head-init", index).uniform(-bound, bound, shape)
            arrays[name] = draws.astype(np.float32)
    return arrays


def build_head(
    kind: str, *, features: int, classes: int, hidden_units: int, cosine_scale: float
) -> Head:
    """Return the head of a kind, ``linear``, ``mlp`` or ``cosine``, for d features, K classes."""
    if kind == "linear":
        return LinearHead(features, classes)
    if kind == "mlp":
        return MLPHead(features, classes, hidden_units)
    return CosineHead(features, classes, cosine_scale)
