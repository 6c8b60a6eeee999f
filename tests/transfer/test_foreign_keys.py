"""Weights of timm's and Hugging Face's in torchvision's networks: the features are theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from fedtl.transfer.foreign_keys import torchvision_keys
from fedtl.transfer.state_search import find_state

Made = tuple[nn.Module, Callable[[Tensor], Tensor], nn.Module]
"""A network of another library, what it gives, and torchvision's without a classifier."""


def _vit() -> nn.Module:
    network = models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=5)
    network.heads = nn.Identity()  # type: ignore[assignment]
    return network


def _convnext() -> nn.Module:
    sizes = [(8, 16, 2), (16, 16, 1), (16, 16, 1), (16, None, 1)]
    setting = [CNBlockConfig(*one) for one in sizes]
    network = ConvNeXt(setting, num_classes=5)
    network.classifier = nn.Sequential(*list(network.classifier)[:2])
    return network


def _timm_vit() -> Made:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    made = timm.models.VisionTransformer(**sizes, mlp_ratio=2, num_classes=5)
    return made, lambda x: made.forward_head(made.forward_features(x), pre_logits=True), _vit()


def _timm_convnext() -> Made:
    timm = pytest.importorskip("timm")
    made = timm.models.ConvNeXt(
        depths=(2, 1, 1, 1), dims=(8, 16, 16, 16), num_classes=5, ls_init_value=1.0
    )
    return made, lambda x: made.forward_head(made.forward_features(x), pre_logits=True), _convnext()


def _hf_vit() -> Made:
    of = pytest.importorskip("transformers")
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64}
    config = of.ViTConfig(**sizes, num_hidden_layers=2, num_attention_heads=4, layer_norm_eps=1e-6)
    made = of.ViTModel(config)
    return made, lambda x: made(x).last_hidden_state[:, 0], _vit()


def _hf_convnext() -> Made:
    of = pytest.importorskip("transformers")
    config = of.ConvNextConfig(
        depths=[2, 1, 1, 1],
        hidden_sizes=[8, 16, 16, 16],
        num_stages=4,
        layer_norm_eps=1e-6,
        layer_scale_init_value=1.0,
    )
    made = of.ConvNextModel(config)
    return made, lambda x: made(x).pooler_output, _convnext()


def _hf_resnet(layer: str) -> Made:
    of = pytest.importorskip("transformers")
    sizes = [64, 128, 256, 512] if layer == "basic" else [256, 512, 1024, 2048]
    depths = [2, 2, 2, 2] if layer == "basic" else [3, 4, 6, 3]
    made = of.ResNetModel(of.ResNetConfig(depths=depths, hidden_sizes=sizes, layer_type=layer))
    own = models.resnet18() if layer == "basic" else models.resnet50()
    own.fc = nn.Identity()  # type: ignore[assignment]
    return made, lambda x: made(x).pooler_output.flatten(1), own


MADE: dict[str, Callable[[], Made]] = {
    "timm's ViT": _timm_vit,
    "timm's ConvNeXt": _timm_convnext,
    "Hugging Face's ViT": _hf_vit,
    "Hugging Face's ConvNeXt": _hf_convnext,
    "Hugging Face's ResNet-18": lambda: _hf_resnet("basic"),
    "Hugging Face's ResNet-50": lambda: _hf_resnet("bottleneck"),
}


@pytest.mark.parametrize("name", MADE)
def test_features_are_those_of_the_other_library(name: str) -> None:
    torch.manual_seed(0)
    made, theirs, ours = MADE[name]()
    made.eval()
    ours.eval()
    for value in made.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.add_(torch.rand_like(value) / 10)  # no bias of zero, no scale of one
    # As transformers saves a network with a classifier on it, and others save theirs.
    prefix = "" if name.startswith("timm") else "net."
    state = {prefix + key: value for key, value in made.state_dict().items()}
    found = find_state(
        state, ours.state_dict().keys(), source="weights", renamed=torchvision_keys
    ).state
    missing = ours.state_dict().keys() - found.keys()
    assert not {key for key in missing if "num_batches" not in key}
    ours.load_state_dict({k: found[k] for k in ours.state_dict() if k in found}, strict=False)
    picture = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(picture), theirs(picture), rtol=1e-4, atol=1e-5)


def test_published_names_of_older_files_are_known() -> None:
    """As files on huggingface.co have them; the libraries rename them as they are read."""
    layer = "vit.encoder.layer.3."
    found: dict[str, Any] = torchvision_keys(
        {
            "vit.embeddings.patch_embeddings.projection.weight": torch.zeros(1),
            f"{layer}attention.attention.query.bias": torch.zeros(2),
            f"{layer}attention.attention.key.bias": torch.ones(2),
            f"{layer}attention.attention.value.bias": torch.full((2,), 2.0),
            f"{layer}attention.output.dense.bias": torch.zeros(1),
            f"{layer}intermediate.dense.bias": torch.zeros(1),
            f"{layer}output.dense.bias": torch.zeros(1),
            "vit.pooler.dense.bias": torch.zeros(1),
            "classifier.bias": torch.zeros(1),
        }
    )
    new = "encoder.layers.encoder_layer_3."
    assert found.keys() == {
        "conv_proj.weight",
        f"{new}self_attention.in_proj_bias",
        f"{new}self_attention.out_proj.bias",
        f"{new}mlp.0.bias",
        f"{new}mlp.3.bias",
        "heads.head.bias",
    }
    assert found[f"{new}self_attention.in_proj_bias"].tolist() == [0, 0, 1, 1, 2, 2]


def test_other_names_stay_as_they_are() -> None:
    state = {"layer1.0.conv1.weight": torch.zeros(1), "fc.bias": torch.ones(1)}
    assert torchvision_keys(state) == state
