"""Networks that only fedtl has: the script carries their source. And the picture half of CLIPs."""

from __future__ import annotations

from torch import nn

from fedtl.plain_models.plain_head import PlainHead
from fedtl.plain_models.plain_layers import WithHead
from fedtl.plain_models.recipe import Recipe, call, constants, sources
from fedtl.transfer import dictionary, stages, tiny
from fedtl.transfer.backbones import Backbone, log_mel, open_clip, wordllama
from fedtl.transfer.sound_preparation import SoundPreparation

_TORCH = ("import torch", "from torch import Tensor, nn")


def tiny_recipe(head: PlainHead) -> Recipe:
    """Return the lines that make the shipped network."""
    definitions = (
        constants(tiny, "FILTERS", "PATCH", "STRIDE", "WIDTHS")
        + "\n"
        + constants(dictionary, "CONTRAST_FLOOR", "_PICTURES_AT_A_TIME"),
        sources(
            dictionary.ConvolutionalDictionary,
            stages.Convolution,
            stages.Stage,
            stages.Stages,
            tiny.TinyBackbone,
        ),
    )
    imports = (
        "from collections.abc import Sequence",
        *_TORCH,
        "from torch.nn import functional",
        "from torch.nn.utils.fusion import fuse_conv_bn_eval",
    )
    return _with_head("TinyBackbone()", head, imports, definitions)


def log_mel_recipe(backbone: Backbone, head: PlainHead) -> Recipe:
    """Return the lines that make the statistics of log-mel energies."""
    network = backbone.network
    assert isinstance(network, log_mel.LogMelStatistics)
    assert isinstance(backbone.preprocessing, SoundPreparation)
    bands = network.filters.shape[1]
    segments = backbone.feature_size // bands - 2
    definitions = (
        constants(log_mel, "_WINDOW_SECONDS", "_STEP_SECONDS", "_FLOOR"),
        sources(log_mel.LogMelStatistics, log_mel.weighted_mean, log_mel.mel_filters),
    )
    imports = ("import numpy as np", *_TORCH, "from numpy.typing import NDArray")
    built = call("LogMelStatistics", backbone.preprocessing.rate, bands, segments)
    return _with_head(built, head, imports, definitions)


def wordllama_recipe(backbone: Backbone, head: PlainHead) -> Recipe:
    """Return the lines that make the mean of word vectors."""
    network = backbone.network
    assert isinstance(network, wordllama.MeanVector)
    count, width = network.vectors.shape
    built = f"MeanVector(torch.zeros({count}, {width}))"
    return _with_head(built, head, _TORCH, (sources(wordllama.MeanVector),))


def open_clip_recipe(name: str, head: PlainHead) -> Recipe:
    """Return the lines that make the picture half of a network of OpenCLIP's."""
    architecture = name.partition("@")[0]
    built = f"Pictures(open_clip.create_model({architecture!r}, pretrained=None).visual)"
    imports = ("import open_clip", *_TORCH, "from torch.nn import functional")
    needs = ("torch", "open_clip_torch")
    return _with_head(built, head, imports, (sources(open_clip.Pictures),), needs)


def head_recipe(head: PlainHead) -> Recipe:
    """Return the line that makes the head alone, for embeddings."""
    imports = _TORCH if head.layers else ("import torch", "from torch import nn")
    return Recipe(("torch",), imports, (f"model = {head.code}",), sources(*head.layers))


def whole(backbone: Backbone, head: PlainHead) -> nn.Module:
    """Return the network and the head as one module."""
    return WithHead(backbone.network, head.module).eval()


def _with_head(
    built: str,
    head: PlainHead,
    imports: tuple[str, ...],
    definitions: tuple[str, ...],
    needs: tuple[str, ...] = ("torch",),
) -> Recipe:
    classes = sources(*head.layers, WithHead)
    build = (f"model = WithHead({built}, {head.code})",)
    return Recipe(needs, imports, build, "\n\n\n".join((*definitions, classes)))
