"""``--backbone open_clip:ARCH@FILE``: both halves of a network of OpenCLIP's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedtl.config_key import nearest
from fedtl.errors import UsageError
from fedtl.registry import needed
from fedtl.transfer.backbones.base import DEFAULT, Backbone, Family
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.preprocessing import Preprocessing, three_numbers
from fedtl.transfer.state_search import find_state
from fedtl.transfer.text_tower import TextTower
from fedtl.transfer.weights_file import load_checked

_RULE = "OpenCLIP's features of pictures, of length 1"


class Pictures(nn.Module):
    """From pixels to vectors of length 1.

    Args:
        visual: OpenCLIP's half for pictures.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Tensor:
        """Return shape ``(n, d)`` of ``(n, 3, size, size)``."""
        return functional.normalize(self.visual(pixels), dim=-1)


class _Read(NamedTuple):
    """A network with its weights, and how it was found."""

    network: Any
    architecture: str
    told: str


class OpenClip(Family):
    """A network of OpenCLIP's with the weights of a file: features of pictures, and class names."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        network, architecture, told = self._read()
        return self.frozen(
            Pictures(network.visual),
            0,
            _preprocessing(network.visual.preprocess_cfg, self.config.image_size),
            name=f"open_clip:{architecture}",
            rule=_RULE,
            told=told,
        )

    def text_tower(self) -> TextTower:
        """See :class:`Family`."""
        network, architecture, _ = self._read()
        network.eval().requires_grad_(False)
        package = needed("open_clip", extra="clip", by=f"backbone = open_clip:{architecture}")
        try:
            tokens = package.get_tokenizer(architecture)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"open_clip's tokenizer of {architecture} is not on this machine, and it is wanted "
                f"for init = 'zero-shot' and prompt: {' '.join(str(error).split())[:200]}"
            ) from None

        def vector(text: str) -> Tensor:
            with torch.inference_mode():
                found: Tensor = network.encode_text(tokens([text]))[0]
            return found

        return TextTower(vector, float(network.logit_scale.exp()))

    def _read(self) -> _Read:
        architecture, at, file = self.argument.partition("@")
        if not (architecture and at and file) or self.config.weights != DEFAULT:
            raise UsageError(
                f"backbone = {self.config.backbone!r} should be open_clip:ARCH@FILE, such as "
                "open_clip:ViT-B-32@weights.safetensors, and weights left out."
            )
        package = needed("open_clip", extra="clip", by=f"backbone = open_clip:{architecture}")
        known = package.list_models()
        if architecture not in known:
            raise UsageError(
                f"open_clip has no architecture {architecture!r}{nearest(architecture, known)}"
            )
        # It would warn of the random weights that are replaced here.
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            network = package.create_model(architecture, pretrained=None)
        finally:
            logging.disable(level)
        source = f"weights file {file}"
        content = read_checkpoint(Path(file).expanduser())
        found = find_state(content, network.state_dict().keys(), source=source)
        load_checked(network, found.state, source=source)
        return _Read(network, architecture, found.told)


BACKBONE = OpenClip


def _preprocessing(told: Any, image_size: int) -> Preprocessing:
    size = told["size"] if isinstance(told["size"], int) else int(told["size"][0])
    if image_size not in (0, size):
        raise UsageError(f"This network of open_clip's takes {size} pixels; leave image-size out.")
    shortest = told["resize_mode"] == "shortest"
    return Preprocessing(
        image_size=size,
        resize=size if shortest else None,
        interpolation=str(told["interpolation"]).upper(),
        mean=three_numbers(told["mean"]),
        std=three_numbers(told["std"]),
    )
