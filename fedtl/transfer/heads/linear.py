"""``--head linear``: multinomial logistic regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fedtl.transfer.heads.base import Arrays, BaseHead, Tensors, initial, normalised, products


@dataclass(frozen=True)
class LinearHead(BaseHead):
    """Multinomial logistic regression: logits = x Wᵀ + b, W of shape (K, d)."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        return {"weight": (self.classes, self.features), "bias": (self.classes,)}

    def initial(self, kind: str, seed: int) -> Arrays:
        """See :class:`Head`."""
        return initial(self.shapes, "zero" if kind == "auto" else kind, seed)

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self._logits_by_class(parameters, x).transpose(1, 2)

    def _logits_by_class(self, parameters: Tensors, x: Tensor) -> Tensor:
        """Return logits ``(C, K, B)``: W xᵀ takes half of x Wᵀ's time, and its softmax a tenth."""
        return products(parameters["weight"], x.transpose(1, 2)).add_(
            parameters["bias"].unsqueeze(2)
        )

    def loss_and_gradients(
        self, parameters: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensors]:
        """See :class:`Head`; written out: a third of automatic differentiation's time."""
        share = normalised(weight)
        log_p = self._logits_by_class(parameters, x).log_softmax(1)
        index = y.unsqueeze(1)
        loss = -(log_p.gather(1, index).squeeze(1) * share).sum(1)
        residual = log_p.exp_()
        residual.scatter_add_(1, index, residual.new_full((1, 1, 1), -1.0).expand_as(index))
        residual.mul_(share.unsqueeze(1))
        return loss, {"weight": products(residual, x), "bias": residual.sum(2)}


HEAD = LinearHead
