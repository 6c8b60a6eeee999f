"""``--head mlp``: one hidden layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fedtl.options import Integer, Options
from fedtl.transfer.heads.base import BaseHead, Tensors, products


@dataclass(frozen=True)
class MLPHead(BaseHead):
    """One hidden layer of rectified units."""

    options = Options(
        hidden_units=Integer(256, "Hidden units (mlp).", low=1, high=65_536, most_at_sites=8192)
    )

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`Head`."""
        hidden = self.options.hidden_units
        return {
            "hidden.weight": (hidden, self.features),
            "hidden.bias": (hidden,),
            "output.weight": (self.classes, hidden),
            "output.bias": (self.classes,),
        }

    def logits(self, parameters: Tensors, x: Tensor) -> Tensor:
        """See :class:`Head`."""
        hidden = products(x, parameters["hidden.weight"].transpose(1, 2))
        hidden = (hidden + parameters["hidden.bias"].unsqueeze(1)).relu()
        output = products(hidden, parameters["output.weight"].transpose(1, 2))
        return output + parameters["output.bias"].unsqueeze(1)


HEAD = MLPHead
