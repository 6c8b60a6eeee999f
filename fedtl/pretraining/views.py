"""Random views of pictures: what a network has to see through.

T. Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
with turned and stretched crops, mixed colour channels, inversion and sensor noise besides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST_AREA = 0.2
_TURN, _STRETCH = 0.35, 0.25
_MIXING, _GREY, _INVERTED = 0.18, 0.25, 0.1
_CONTRAST, _LIGHTNESS = 0.6, 0.25
_BLURRED = 0.3
_NOISE = 0.06


def views(pictures: Tensor, side: int, draws: torch.Generator) -> Tensor:
    """Return one random view of each picture.

    Args:
        pictures: Shape ``(n, h, w, 3)``, uint8, on any device.
        side: Of a view, in pixels.
        draws: On the CPU, so that views are the same whatever the device.

    Returns:
        Shape ``(n, 3, side, side)``, float32, on the scale 0 to 1, on the pictures' device.
    """
    count, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(count, *shape, generator=draws)
        return (low + (high - low) * drawn).to(device)

    def normal(deviation: float, *shape: int) -> Tensor:
        return (deviation * torch.randn(count, *shape, generator=draws)).to(device)

    def happens(chance: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=draws) < chance).to(device)

    pixels = pictures.permute(0, 3, 1, 2).float() / 255
    pixels = _cropped(pixels, side, uniform)
    mixing = torch.eye(3, device=device) + normal(_MIXING, 3, 3)
    pixels = torch.einsum("nij,njhw->nihw", mixing, pixels - 0.5)
    grey = pixels.mean(1, keepdim=True)
    saturation = torch.where(happens(_GREY), 0.0, uniform(0.4, 1.2, 1, 1, 1))
    pixels = grey + saturation * (pixels - grey)
    pixels = pixels * torch.exp(uniform(-_CONTRAST, _CONTRAST, 1, 1, 1))
    pixels = torch.where(happens(_INVERTED), -pixels, pixels)
    pixels = pixels + uniform(-_LIGHTNESS, _LIGHTNESS, 1, 1, 1)
    coarse = functional.avg_pool2d(pixels, 2)
    coarse = functional.interpolate(coarse, size=(side, side), mode="bilinear")
    pixels = torch.where(happens(_BLURRED), coarse, pixels)
    grain = torch.randn(1, 3, side, side, generator=draws).to(device)
    shifts = torch.randint(side, (count,), generator=draws).tolist()
    grain = torch.cat([grain.roll((s, 3 * s), (2, 3)) for s in shifts])
    pixels = pixels + uniform(0, _NOISE, 1, 1, 1) * grain
    return (pixels + 0.5).clamp_(0, 1)


def _cropped(pixels: Tensor, side: int, draw: Callable[[float, float], Tensor]) -> Tensor:
    """Return crops of random area, turn, stretch and mirroring, ``(n, 3, side, side)``."""
    extent = draw(_SMALLEST_AREA, 1.0).sqrt()
    turn = draw(-_TURN, _TURN)
    stretch = torch.exp(draw(-_STRETCH, _STRETCH))
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    left, top = draw(-1, 1) * (1 - extent), draw(-1, 1) * (1 - extent)
    across, down = extent * stretch * mirror, extent / stretch
    cosine, sine = torch.cos(turn), torch.sin(turn)
    rows = torch.stack([across * cosine, -down * sine, left], 1)
    columns = torch.stack([across * sine, down * cosine, top], 1)
    affine = torch.stack([rows, columns], 1)
    grid = functional.affine_grid(affine, [len(pixels), 3, side, side], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
