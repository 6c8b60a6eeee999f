"""A small residual network in stages, each of which halves the picture; features from all of them.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, kept narrow and shallow:
a stage is one strided convolution and one residual block.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Convolution(nn.Module):
    """A convolution, in training followed by batch normalisation, and an optional ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        side: Of the kernel, odd.
        stride: Step of the kernel, in pixels.
        normalised: Whether batch normalisation follows; else the convolution has a bias.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int = 3, stride: int = 1, *, normalised: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=not normalised)
        self.norm = nn.BatchNorm2d(outputs) if normalised else nn.Identity()

    def forward(self, planes: Tensor) -> Tensor:
        """Return shape ``(n, outputs, h / stride, w / stride)``, rounded up."""
        result: Tensor = self.norm(self.conv(planes))
        return result

    def fold(self) -> None:
        """Put the batch normalisation's running statistics into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class Stage(nn.Module):
    """A convolution of stride two and a residual block."""

    def __init__(self, inputs: int, outputs: int, side: int, *, normalised: bool) -> None:
        super().__init__()
        self.entry = Convolution(inputs, outputs, side, 2, normalised=normalised)
        self.first = Convolution(outputs, outputs, normalised=normalised)
        self.second = Convolution(outputs, outputs, normalised=normalised)

    def forward(self, planes: Tensor) -> Tensor:
        """Return shape ``(n, outputs, h / 2, w / 2)``, non-negative."""
        entered = functional.relu_(self.entry(planes))
        return functional.relu_(self.second(functional.relu_(self.first(entered))).add_(entered))


class Stages(nn.Module):
    """Stages one after another.

    Args:
        widths: Channels of each stage.
        normalised: Whether batch normalisations are in place (training) or folded.
    """

    def __init__(self, widths: Sequence[int], *, normalised: bool) -> None:
        super().__init__()
        inputs = [3, *widths[:-1]]
        self.stages = nn.ModuleList(
            Stage(before, after, 3 if number else 5, normalised=normalised)
            for number, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return what each stage sees.

        Args:
            pixels: Shape ``(n, 3, h, w)``, on the scale 0 to 1.

        Returns:
            Per stage, shape ``(n, width, h / 2^i, w / 2^i)`` for ``i = 1, 2, ...``; non-negative.
        """
        planes, seen = (pixels - 0.5) * 4, []
        for stage in self.stages:
            planes = stage(planes)
            seen.append(planes)
        return seen

    def fold(self) -> Stages:
        """Fold every batch normalisation into its convolution, in place; return the network."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        return self
