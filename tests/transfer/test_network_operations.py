"""Networks of timm's, OpenCLIP's and transformers' in two: to the bit what the whole ones give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import write_tiny
from torch import Tensor, nn

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import backbone_of
from fedtl.transfer.boundary import cut_backbone
from fedtl.transfer.huggingface.pictures import PictureEncoder
from fedtl.transfer.network_cut import Cuttable
from fedtl.transfer.network_operations import operations_of

SIDE = 32
_VIT: dict[str, Any] = {"img_size": SIDE, "depth": 3}
_NARROW = {**_VIT, "embed_dim": 96, "num_heads": 3}
TIMM: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": _VIT,
    "deit_tiny_distilled_patch16_224": _VIT,
    "deit3_small_patch16_224": _NARROW,
    "vit_small_patch14_reg4_dinov2": {"img_size": 28, "depth": 3},
    "vit_small_patch16_dinov3": _VIT,
    "vit_srelpos_small_patch16_224": _NARROW,
    "vit_base_patch16_siglip_224": _NARROW,
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 3},
    "beit_base_patch16_224": _NARROW,
    "convit_tiny": _VIT,
    "test_convnext": {},
}
_BLOCKS = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16}
_BLOCKS |= {"intermediate_size": 32}
_PATCHES = {"image_size": SIDE, "patch_size": 8, **_BLOCKS}
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [2, 2]}
_WINDOWS: dict[str, Any] = {"image_size": SIDE, "patch_size": 2, "embed_dim": 8, "window_size": 4}
_WINDOWS |= {"depths": [2, 2], "num_heads": [2, 2]}
TRANSFORMERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ViT": (_PATCHES, ["layers.1", "layers.2"]),
    "DeiT": (_PATCHES, ["layers.1", "layers.2"]),
    "Beit": (_PATCHES, ["layers.1", "layers.2"]),
    "Dinov2": (_PATCHES, ["encoder.layer.1", "encoder.layer.2"]),
    "DINOv3ViT": (_PATCHES, ["model.layer.1", "model.layer.2"]),
    "CLIPVision": (_PATCHES, ["encoder.layers.1", "encoder.layers.2"]),
    "ResNet": (
        {"embedding_size": 8, "layer_type": "basic", **_STAGES},
        ["encoder.stages.1.layers.0", "encoder.stages.1.layers.1"],
    ),
    "ConvNext": (
        {"num_stages": 2, **_STAGES},
        ["encoder.stages.1.layers.0", "encoder.stages.1.layers.1"],
    ),
    "Swin": (_WINDOWS, ["encoder.layers.1.blocks.0", "encoder.layers.1.blocks.1"]),
    "Swinv2": (_WINDOWS, ["encoder.layers.1.blocks.0", "encoder.layers.1.blocks.1"]),
}


def _pictures(rows: int, side: int = SIDE) -> Tensor:
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(rows))


def _network(made: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made().eval().requires_grad_(False)


@cache
def _of_timm(name: str) -> tuple[nn.Module, int]:
    import timm

    network = _network(lambda: timm.create_model(name, num_classes=0, **TIMM[name]))
    return network, TIMM[name].get("img_size", 64)


@cache
def _of_transformers(name: str, pool: str, layer: int | None) -> nn.Module:
    import transformers as hf

    configuration = getattr(hf, f"{name}Config")(**TRANSFORMERS[name][0])
    model = _network(lambda: getattr(hf, f"{name}Model")(configuration))
    return PictureEncoder(model, pool, layer).eval()


def _check(network: nn.Module, side: int, cuts: list[str]) -> Cuttable:
    """Cut a network before some modules, and compare what its halves give with what it gives."""
    cuttable = Cuttable(network, "it", (_pictures(1, side),))
    own = dict(network.named_parameters())
    for cut in cuts:
        halves = cuttable.before(cut)
        for rows in (1, 4):
            pictures = _pictures(rows, side)
            with torch.inference_mode():
                found = halves.above(halves.below(pictures).clone())
                assert torch.equal(found, network(pictures)), (cut, rows)
        above = dict(halves.above.named_parameters())
        assert above
        assert all(value is own[key] for key, value in above.items())
        assert all(value is own[key] for key, value in halves.below.named_parameters())
        # All that is above the cut, and nothing else, has a share in what comes out.
        given = {key: value.detach().clone().requires_grad_() for key, value in above.items()}
        inputs = halves.below(_pictures(2, side)).clone()
        told = torch.func.functional_call(halves.above, given, (inputs,))
        torch.autograd.grad(told.square().sum(), list(given.values()))
    return cuttable


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    network, side = _of_timm(name)
    cuttable = Cuttable(network, "it", (_pictures(1, side),))
    _check(network, side, ["input", cuttable.blocks[-1], cuttable.blocks[-2]])
    if "depth" in TIMM[name]:
        assert [b for b in cuttable.blocks if b.startswith("blocks")] == [
            f"blocks.{at}" for at in range(3)
        ]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_networks_of_transformers(name: str) -> None:
    last = [f"model.{block}" for block in TRANSFORMERS[name][1]]
    network = _of_transformers(name, "mean", None)
    cuttable = _check(network, SIDE, ["input", *last])
    assert cuttable.blocks[-2:] == last
    # As the network of transformers itself calls it.
    assert cuttable.before(TRANSFORMERS[name][1][1]).name == last[1]
    assert any(
        isinstance(m, nn.Linear | nn.Conv2d) for m in cuttable.before(last[1]).above.modules()
    )


@pytest.mark.parametrize("name", ["ViT", "Dinov2", "Swin"])
def test_what_comes_after_the_layer_that_is_taken_is_no_block(name: str) -> None:
    """The layer before the last, whose outputs are the features, is the last block."""
    network = _of_transformers(name, "mean", -2)
    blocks = _check(network, SIDE, ["input"]).blocks
    assert f"model.{TRANSFORMERS[name][1][1]}" not in blocks
    _check(network, SIDE, blocks[-2:])


def test_the_picture_half_of_clip(tmp_path: Path) -> None:
    folder = write_tiny("clip", tmp_path)
    for pool in ("", "#pool=mean"):
        config = RunConfig(backbone=f"hf:{folder}{pool}")
        network = backbone_of(config).network
        blocks = _check(network, SIDE, ["input"]).blocks
        _check(network, SIDE, blocks[-2:])
        assert blocks[-1].endswith("encoder.layers.1" if pool else "visual_projection")
        # What is for texts is no part of either half.
        _, boundary = cut_backbone(config.replace(trainable_blocks=1))
        assert boundary is not None
        assert not any("text" in name for name, _ in boundary.above.named_parameters())


def test_networks_of_open_clip() -> None:
    import open_clip

    settings = {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    texts = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 2, "layers": 1}
    whole = _network(lambda: open_clip.CLIP(16, settings, texts))
    blocks = _check(whole.visual, SIDE, ["input"]).blocks
    assert blocks[-2:] == ["transformer.resblocks.0", "transformer.resblocks.1"]
    _check(whole.visual, SIDE, blocks[-2:])


def test_a_cut_network_runs_in_half_precision(tmp_path: Path) -> None:
    """As on a device: what is cached is cast, and so are constants of the operations."""
    config = RunConfig(backbone=f"hf:{write_tiny('vit', tmp_path)}", trainable_blocks=1)
    network, pictures = cut_backbone(config)[0].network, _pictures(3)
    with torch.inference_mode():
        exact = network(pictures)
        rough = copy.deepcopy(network).to(torch.bfloat16)(pictures.to(torch.bfloat16))
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).norm() < 0.05 * exact.norm()


class _Conditions(nn.Module):
    """Conditions on a side, a batch's size in a view, a statement in place, an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = (nn.Linear(12, 12) for _ in range(3))

    def forward(self, x: Tensor, scale: float = 2.0, mask: Tensor | None = None) -> Tensor:
        rows, channels, height, width = x.shape
        if height != width or mask is not None:
            raise ValueError("no square")
        tokens = self.first(x.reshape(rows, channels * height * width // 12, 12))
        tokens.mul_(scale)
        self.unused(tokens)
        found: Tensor = self.second(tokens).view(rows, -1, 6).mean(1)
        return found


def test_conditions_on_shapes_and_arguments_with_defaults_are_followed() -> None:
    network = _Conditions().eval()
    graph = operations_of(network, ((_pictures(1, 4),), (_pictures(2, 4),)))
    assert sum(node.op == "placeholder" for node in graph.nodes) == 1
    assert not any("unused" in str(node.target) for node in graph.nodes)
    cuttable = _check(network, 4, ["input", "first", "second"])
    assert cuttable.blocks == ["first", "second"]
    assert not any(
        "unused" in name for name, _ in cuttable.before("input").above.named_parameters()
    )


class _Rough(nn.Module):
    """A part whose operations depend on its input's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x) if bool(x.sum() > 0) else -self.inner(x)
        return found


def test_a_module_that_cannot_be_listed_is_one_operation() -> None:
    inner = nn.Sequential(_Rough(), nn.Linear(4, 4), nn.Linear(4, 4))
    network = nn.Sequential(nn.Linear(4, 4), inner, nn.Flatten()).eval()
    cuttable = _check(network, 4, ["1", "1.1", "1.2"])
    assert cuttable.blocks == ["0", "1.0", "1.1", "1.2"]
    with pytest.raises(UsageError, match=r"'1.0.inner' is no module of it"):
        cuttable.before("1.0.inner")


def test_the_shipped_network_is_refused() -> None:
    for count in (1, 2):
        with pytest.raises(UsageError, match=r"fedtl-tiny"):
            cut_backbone(RunConfig(trainable_blocks=count))
