"""fedtl-tiny: the shipped backbone, a dictionary of patches beside a small residual network.

The two see different things. A dictionary's contrast-normalised responses, kept for each quadrant,
describe surfaces and their place; a trained network's stages describe parts and shapes. Either
alone is several points of accuracy behind both (docs/backbone.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fedtl.determinism import derived_seed
from fedtl.transfer.dictionary import ConvolutionalDictionary
from fedtl.transfer.stages import Stages
from fedtl.transfer.weights_file import load_checked

IMAGE_SIZE = 64
FILTERS = 128
PATCH = 6
# Every second row of patches: as good as all of them within chance, in half the time.
STRIDE = (2, 1)
# A patch has to fit twice.
SMALLEST_PICTURE = PATCH + 2
WIDTHS = (32, 64, 128, 256)
SHIPPED_WEIGHTS = Path(__file__).parent.parent / "weights" / "fedtl-tiny.safetensors"
# Part of the backbone's fingerprint: to be changed with the arithmetic of `forward`.
RULE = "fedtl-tiny: dictionary, 2x2 pooled; residual stages, each pooled; roots; v3"


class TinyBackbone(nn.Module):
    """Features of a picture: 512 of the dictionary, then 480 of the residual network's stages."""

    def __init__(self) -> None:
        super().__init__()
        self.dictionary = ConvolutionalDictionary(FILTERS, PATCH, STRIDE)
        self.network = Stages(WIDTHS, normalised=False)
        self.feature_size = self.dictionary.feature_size + sum(WIDTHS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features.

        Args:
            pixels: Shape ``(n, 3, height, width)``, on the scale 0 to 1.

        Returns:
            Shape ``(n, 992)``: what :class:`ConvolutionalDictionary` returns, then for each channel
            of each stage the square root of its mean over the picture.
        """
        # On a CPU both halves are up to 1.6 times as fast with the channels last.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        means = torch.cat([planes.mean((2, 3)) for planes in self.network(pixels)], 1)
        return torch.cat([self.dictionary(pixels), means.sqrt_()], 1)


def tiny_of(state: Mapping[str, Tensor], source: str) -> TinyBackbone:
    """Return the network with the tensors of a state dict, of any floating type.

    Args:
        state: What ``python -m fedtl.pretrain`` writes.
        source: What error messages call it.

    Raises:
        UsageError: A key is missing or unknown, or has a wrong shape.
    """
    network = _uninitialised()
    load_checked(network, state, source=source)
    return network


def tiny_keys() -> list[str]:
    """Return the keys of the network's state dict."""
    return list(_uninitialised().state_dict())


def random_tiny(seed: int) -> TinyBackbone:
    """Return the untrained network: Gaussian atoms of unit length, no threshold; He's convolutions.

    K. He et al., "Delving Deep into Rectifiers", ICCV 2015: a convolution's weights have variance
    2 over the number of its inputs.

    Args:
        seed: Determines the weights.
    """
    network = _uninitialised().to_empty(device="cpu")
    draws = torch.Generator().manual_seed(derived_seed(seed, "random weights of fedtl-tiny") >> 1)
    atoms = torch.randn(network.dictionary.filters.shape, generator=draws)
    atoms -= atoms.mean((1, 2, 3), keepdim=True)
    network.dictionary.filters.copy_(atoms / atoms.square().sum((1, 2, 3), keepdim=True).sqrt())
    network.dictionary.thresholds.zero_()
    with torch.no_grad():
        for name, tensor in network.network.named_parameters():
            if name.endswith("bias"):
                tensor.zero_()
            else:
                nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=draws)
    return network


def _uninitialised() -> TinyBackbone:
    """Return the network without memory for its weights; PyTorch's own draws are left alone."""
    with torch.device("meta"):
        return TinyBackbone()
