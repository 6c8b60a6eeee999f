"""Layers of exported models that PyTorch has no name for; scripts carry their source."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Features minus the mean of all clients' features, times the inverse of their deviation.

    Args:
        features: How many there are.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return standardised features, shape ``(n, features)``."""
        return (features - self.mean) * self.scale


class Exact(nn.Module):
    """A linear layer in float64, for weights whose summands are many times their sum.

    Args:
        features: How many there are.
        classes: How many classes.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs in float32, shape ``(n, classes)``."""
        return nn.functional.linear(features.double(), self.weight, self.bias).float()


class Cosine(nn.Module):
    """The cosine of a feature vector with a direction for each class, times a scale.

    Args:
        features: How many there are.
        classes: How many classes.
        scale: Of the cosines.
    """

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.zeros(classes, features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled cosines, shape ``(n, classes)``."""
        directions = nn.functional.normalize(self.weight, dim=1)
        return self.scale * nn.functional.normalize(features, dim=1) @ directions.T


class WithHead(nn.Module):
    """A network that gives features, and a head that takes them.

    Args:
        backbone: The network.
        head: The head.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the head's outputs, shape ``(n, classes)``."""
        outputs: Tensor = self.head(self.backbone(*batch))
        return outputs
