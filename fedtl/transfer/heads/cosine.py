"""``--head cosine``: scaled cosine similarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtl.options import Number, Options
from fedtl.transfer.heads.base import BaseHead, Tensors, products


@dataclass(frozen=True)
class CosineHead(BaseHead):
    """Scaled cosine similarity to one direction per class (Gidaris & Komodakis, CVPR 2018)."""

    options = Options("cosine", scale=Number(16.0, "Logit scale (cosine).", above=0.0, high=1e4))

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        return {"weight": (self.classes, self.features)}

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        directions = torch.nn.functional.normalize(parameters["weight"], dim=2)
        scale: float = self.options.scale
        return scale * products(torch.nn.functional.normalize(x, dim=2), directions.transpose(1, 2))


HEAD = CosineHead
