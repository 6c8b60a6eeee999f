"""Which layers multiply each place of their input by one matrix, however they hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class LinearLayer:
    """A layer that gives W x, but for a bias.

    Attributes:
        outputs: o, how many numbers it gives.
        inputs: i, how many it takes.
        transposed: Whether it holds W as ``(i, o)``.
        weight: What it calls W.
    """

    outputs: int
    inputs: int
    transposed: bool = False
    weight: str = "weight"


def linear_layer(layer: Any) -> LinearLayer | None:
    """Return what a module is as a linear layer; ``None`` if it is none.

    Args:
        layer: A linear layer of PyTorch's, a 1 x 1 convolution, what attention of PyTorch's makes
            queries, keys and values with, all three by one matrix, or one of the layers that GPT-2
            and its kin have in transformers; the latter is told by its name, so that transformers
            is not imported.
    """
    if isinstance(layer, nn.Linear):
        return LinearLayer(layer.out_features, layer.in_features)
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
        return LinearLayer(layer.out_channels, layer.in_channels)
    if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
        outputs, inputs = layer.in_proj_weight.shape
        return LinearLayer(outputs, inputs, weight="in_proj_weight")
    kind = type(layer)
    if kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers."):
        inputs, outputs = layer.weight.shape
        return LinearLayer(outputs, inputs, transposed=True)
    return None
