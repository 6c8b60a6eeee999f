"""A backbone of a few blocks, with residuals and batch normalisation, quick to train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from fedtl.transfer.backbones.base import Backbone, Family
from fedtl.transfer.preprocessing import Preprocessing

BACKBONE = "tiny_blocks:TinyBlocks"
SIDE, WIDTH = 8, 6


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.point = nn.Conv2d(width, width, 1)

    def forward(self, planes: Tensor) -> Tensor:
        found: Tensor = self.point(torch.relu_(self.norm(self.conv(planes))))
        return torch.relu(planes + found)


class TinyNetwork(nn.Module):
    """From ``(n, 3, 8, 8)`` to ``(n, 6)``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1)
        self.body = nn.Sequential(*(_Block(WIDTH) for _ in range(3)))
        self.drop = nn.Dropout(0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the mean over places."""
        found: Tensor = self.drop(self.body(torch.relu(self.stem(pixels))).mean((2, 3)))
        return found


class TinyBlocks(Family):
    """The network with weights of its own, whatever ``weights`` says."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            network = TinyNetwork()
            for block in network.body:
                assert isinstance(block, _Block)
                block.norm.running_mean = torch.randn(WIDTH) / 10
                block.norm.running_var = torch.rand(WIDTH) + 0.5
        mean, deviation = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        prepared = Preprocessing(SIDE, None, "BILINEAR", mean, deviation)
        return self.frozen(network, WIDTH, prepared)


class TinyPlain(Family):
    """A network without linear layers or 1 x 1 convolutions."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten())
        prepared = Preprocessing(SIDE, None, "BILINEAR", (0.0,) * 3, (1.0,) * 3)
        return self.frozen(network, 0, prepared)


class TinyAttention(Family):
    """A transformer for pictures whose attention is PyTorch's."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(6)
            network = VisionTransformer(SIDE, SIDE // 2, 2, 2, WIDTH, 2 * WIDTH)
        network.heads = nn.Sequential()
        prepared = Preprocessing(SIDE, None, "BILINEAR", (0.0,) * 3, (1.0,) * 3)
        return self.frozen(network, WIDTH, prepared)
