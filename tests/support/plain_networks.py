"""Heads and networks with drawn weights, to be put in plain form."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fedtl.config import RunConfig
from fedtl.federation.classifier import Classifier
from fedtl.plain_models.recipe import Recipe
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.backbones.base import Preparation
from fedtl.transfer.head_file import TrainedHead
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.standardisation import Standardisation
from fedtl.transfer.torchvision_models import uninitialised

CLASSES = ("ant", "bee", "wasp")
TEMPERATURE = 1.7
HIDDEN = 5
# Of VGG's hundred million numbers so many are drawn, again and again: a prime, so that no two rows
# of a tensor begin at the same one.
_DRAWN = 1_000_003


def drawn_classifier(
    config: RunConfig, features: NDArray[np.floating], fingerprint: str = "print"
) -> Classifier:
    """Return a run with a drawn head on features like these, standardised by their moments."""
    rng = np.random.default_rng(3)
    width, count = features.shape[1], len(CLASSES)
    shapes: dict[str, tuple[int, ...]] = {"weight": (count, width), "bias": (count,)}
    if config.head == "cosine":
        del shapes["bias"]
    if config.head == "mlp":
        shapes = {"hidden.weight": (HIDDEN, width), "hidden.bias": (HIDDEN,)}
        shapes |= {"output.weight": (count, HIDDEN), "output.bias": (count,)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    mean, deviation = features.mean(0), features.std(0)
    varies = deviation > 1e-6 * np.abs(features).max()
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    standardisation = Standardisation(mean.astype(np.float32), scale.astype(np.float32))
    trained = TrainedHead(arrays, standardisation, CLASSES, fingerprint, temperature=TEMPERATURE)
    return Classifier(Path("run"), config, trained)


def features_of(backbone: Backbone, batches: list[tuple[torch.Tensor, ...]]) -> NDArray[np.float32]:
    """Return the features of several batches."""
    return np.concatenate([backbone.forward(*batch).numpy() for batch in batches])


def drawn_torchvision(name: str, size: int) -> Backbone:
    """Return a cut architecture whose weights cost no initialisation and no fingerprint."""
    cut = uninitialised(name, size)
    generator = torch.Generator().manual_seed(0)
    state = OrderedDict(cut.network.state_dict())
    for key, tensor in cut.network.state_dict().items():
        if not tensor.is_meta:
            continue
        if tensor.ndim == 1:
            state[key] = torch.full(tensor.shape, float(key.endswith("weight")))
        else:
            drawn = torch.rand(min(tensor.numel(), _DRAWN), generator=generator) - 0.5
            drawn *= (24 / tensor[0].numel()) ** 0.5
            times = -(-tensor.numel() // _DRAWN)
            state[key] = drawn.repeat(times)[: tensor.numel()].view(tensor.shape)
    state._metadata = cut.network.state_dict()._metadata  # type: ignore[attr-defined]
    cut.network.load_state_dict(state, assign=True)
    cut.network.eval().requires_grad_(False)
    preparation: Preparation = Preprocessing(size, size, "BILINEAR", (0.4,) * 3, (0.2,) * 3)
    return Backbone(name, cut.feature_size, cut.network, preparation, "print")


def made_anew(recipe: Recipe, written: nn.Module) -> nn.Module:
    """Return the network that a recipe makes, with the weights that would be written."""
    lines = ["from __future__ import annotations", *recipe.imports, recipe.definitions]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Whatever is drawn is replaced, and drawing takes seconds.
        patch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)
        for name in ("uniform_", "normal_"):
            patch.setattr(torch.Tensor, name, lambda tensor, *_, **__: tensor)
        exec("\n".join([*lines, *recipe.build]), names)
    model: nn.Module = names["model"]
    model.load_state_dict(written.state_dict(), assign=True)
    return model.eval()
