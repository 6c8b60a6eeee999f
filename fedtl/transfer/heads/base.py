"""What a head is: named parameters, and functions of them over a leading client axis.

A head is a set of named parameters and two pure functions on them. Every tensor has a leading
client axis, so that one actor computes many clients in one batched product and a real site calls
the same function with one. Batched products of fixed batch shape give each client the same bits
however many clients are stacked (with one thread: see :func:`one_thread`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config_key import Scalar
from fedtl.determinism import generator
from fedtl.options import Options

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


@dataclass(frozen=True)
class Given:
    """Options that a head is built with, by kebab-case key."""

    options: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True)
class BaseHead(ABC):
    """A head for d features and K classes: a subclass writes ``shapes`` and ``logits``.

    Its gradients come from automatic differentiation of its logits. Its options are read as
    ``self.options``.
    """

    features: int
    classes: int
    config: Given = Given()

    options = Options()

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`; ``auto`` is seeded."""
        return initial(self.shapes, kind, seed)

    @abstractmethod
    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`; use :func:`products`, which keeps the bits of a lone client."""

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`Head`."""
        return gradients_of(self.logits, parameters, x, y, weight)


def gradients_of(
    logits: Callable[[Tensors, Tensor], Tensor],
    parameters: Tensors,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    trained: Collection[str] | None = None,
) -> tuple[Tensor, Tensors]:
    """Return what :meth:`Head.loss_and_gradients` does, by automatic differentiation.

    Args:
        logits: A head's.
        parameters: See :class:`Head`, as for the others.
        x: What heads are given.
        y: Labels.
        weight: Weight of each example.
        trained: Which parameters have gradients; by default all.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # What was made in inference mode can be differentiated only as a copy.
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        x, y, weight = x.clone(), y.clone(), weight.clone()
        log_p = logits(leaves, x).log_softmax(2)
        chosen = log_p.gather(2, y.unsqueeze(2)).squeeze(2)
        loss = -(chosen * normalised(weight)).sum(1)
        wanted = {n: leaf for n, leaf in leaves.items() if trained is None or n in trained}
        gradients = torch.autograd.grad(loss.sum(), list(wanted.values()))
    return loss.detach(), dict(zip(wanted, gradients, strict=True))


def normalised(weight: Tensor) -> Tensor:
    """Return each client's weights as shares of their sum."""
    return weight / weight.sum(1, keepdim=True)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return each client's matrix product, with the same bits for one client as for many."""
    if len(a) == 1 and 1 in (*a.shape[1:], b.shape[2]):
        # A lone matrix times a lone vector, here or in a gradient, goes to another routine, which
        # sums in another order.
        return torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1))[:1]
    return torch.bmm(a, b)


def initial(shapes: Mapping[str, tuple[int, ...]], kind: str, seed: int) -> Arrays:
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


# What a form may have beside what every one has; those that have no adapters have none of it.


def in_round(head: Head, server_round: int) -> Head:
    """Return a form as it is trained in a round, 1 for the first."""
    turned: Callable[[int], Head] | None = getattr(head, "in_round", None)
    return head if turned is None else turned(server_round)


def kept_back(head: Head) -> frozenset[str]:
    """Return the names of what is sent to clients and does not come back."""
    found: frozenset[str] = getattr(head, "kept_back", frozenset())
    return found


def summable(head: Head, arrays: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """Return what a server adds up of a client's arrays, or of the head that it sent."""
    whole: Callable[..., dict[str, Any]] | None = getattr(head, "summable", None)
    return arrays if whole is None else whole(arrays, sent)


def settled(head: Head, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the head that a server's result comes to."""
    found: Callable[..., dict[str, Any]] | None = getattr(head, "settled", None)
    return arrays if found is None else found(arrays)
