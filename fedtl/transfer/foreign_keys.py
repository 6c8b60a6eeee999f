"""State dicts of timm's and of Hugging Face's, under torchvision's names of the same network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_Rule = tuple[str, str | Callable[["re.Match[str]"], str]]


def _stage(match: re.Match[str]) -> str:
    """Return a stage of ConvNeXt's: torchvision numbers stages and what is between them as one."""
    return f"features.{2 * int(match[1]) + 1}.{match[2]}."


def _between(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1])}."


def _of_resnet(match: re.Match[str]) -> str:
    kind = "conv" if match[4] == "convolution" else "bn"
    return f"layer{int(match[1]) + 1}.{match[2]}.{kind}{int(match[3]) + 1}."


def _shortcut(match: re.Match[str]) -> str:
    place = 0 if match[3] == "convolution" else 1
    return f"layer{int(match[1]) + 1}.{match[2]}.downsample.{place}."


_LAYER = r"^(?:encoder\.layer|layers|blocks)\.(\d+)\."
_NEW_LAYER = r"encoder.layers.encoder_layer_\1."


@dataclass(frozen=True)
class _Layout:
    """How a library names the tensors of one architecture.

    Attributes:
        mark: A key that no other layout has, after any prefix.
        rules: What to write in place of what, in order; of each key the first that fits.
        joined: Whether queries, keys and values are three matrices.
        dropped: What torchvision's network has no place for.
    """

    mark: str
    rules: tuple[_Rule, ...]
    joined: bool = False
    dropped: str = ""


_VIT: tuple[_Rule, ...] = (
    (r"^(?:embeddings\.)?cls_token$", "class_token"),
    (r"^(?:embeddings\.position_embeddings|pos_embed)$", "encoder.pos_embedding"),
    (r"^(?:embeddings\.patch_embeddings\.projection|patch_embed\.proj)\.", "conv_proj."),
    (_LAYER + r"attn\.qkv\.", _NEW_LAYER + r"self_attention.in_proj_"),
    (
        _LAYER + r"(?:attn\.proj|attention\.output\.dense|attention\.o_proj)\.",
        _NEW_LAYER + r"self_attention.out_proj.",
    ),
    (_LAYER + r"(?:norm1|layernorm_before)\.", _NEW_LAYER + "ln_1."),
    (_LAYER + r"(?:norm2|layernorm_after)\.", _NEW_LAYER + "ln_2."),
    (_LAYER + r"(?:mlp\.fc1|intermediate\.dense)\.", _NEW_LAYER + "mlp.0."),
    (_LAYER + r"(?:mlp\.fc2|output\.dense)\.", _NEW_LAYER + "mlp.3."),
    (r"^(?:norm|layernorm)\.", "encoder.ln."),
    (r"^(?:head|classifier)\.(weight|bias)$", r"heads.head.\1"),
)
_CONVNEXT: tuple[_Rule, ...] = (
    (r"^(?:stem\.0|embeddings\.patch_embeddings)\.", "features.0.0."),
    (r"^(?:stem\.1|embeddings\.layernorm)\.", "features.0.1."),
    (r"^(?:encoder\.)?stages\.(\d+)\.(?:downsample|downsampling_layer)\.", _between),
    (r"^(?:encoder\.)?stages\.(\d+)\.(?:blocks|layers)\.(\d+)\.", _stage),
    (r"^(?:head\.norm|layernorm)\.", "classifier.0."),
    (r"^(?:head\.fc|classifier)\.(weight|bias)$", r"classifier.2.\1"),
)
_IN_CONVNEXT: tuple[_Rule, ...] = (
    (r"\.(?:conv_dw|dwconv)\.", ".block.0."),
    (r"(\.\d+\.\d+)\.(?:norm|layernorm)\.", r"\1.block.2."),
    (r"\.(?:mlp\.fc1|pwconv1)\.", ".block.3."),
    (r"\.(?:mlp\.fc2|pwconv2)\.", ".block.5."),
    (r"\.(?:gamma|layer_scale_parameter)$", ".layer_scale"),
)
_RESNET: tuple[_Rule, ...] = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (
        r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.(convolution|normalization)\.",
        _of_resnet,
    ),
    (
        r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(convolution|normalization)\.",
        _shortcut,
    ),
    (r"^classifier\.1\.", "fc."),
)
_LAYOUTS = (
    _Layout("embedder.embedder.convolution.weight", _RESNET),
    _Layout("blocks.0.attn.qkv.weight", _VIT),
    _Layout("embeddings.patch_embeddings.projection.weight", _VIT, True, r"^pooler\."),
    _Layout("stages.0.blocks.0.conv_dw.weight", _CONVNEXT),
    _Layout("encoder.stages.0.layers.0.dwconv.weight", _CONVNEXT),
)
_PARTS = re.compile(
    _LAYER + r"attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)$"
)


def torchvision_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under torchvision's names, if another library's are known.

    timm's ViT and ConvNeXt, and Hugging Face's ResNet, ViT and ConvNeXt are; timm calls the parts
    of its ResNets, VGGs and DenseNets as torchvision does. What is not known stays as it is.

    Args:
        state: Tensors by name.
    """
    for layout in _LAYOUTS:
        marked = next((key for key in state if key.endswith(layout.mark)), None)
        if marked is None:
            continue
        prefix = marked.removesuffix(layout.mark)
        own = {key.removeprefix(prefix): value for key, value in state.items()}
        if layout.dropped:
            own = {key: value for key, value in own.items() if not re.match(layout.dropped, key)}
        if layout.joined:
            own = _joined(own)
        return {
            name: value[:, None, None] if name.endswith(".layer_scale") else value
            for name, value in ((_renamed(key, layout), value) for key, value in own.items())
        }
    return dict(state)


def _renamed(key: str, layout: _Layout) -> str:
    for pattern, new in layout.rules:
        key, count = re.subn(pattern, new, key, count=1)
        if count:
            break
    if layout.rules is _CONVNEXT and key.startswith("features."):
        for pattern, new in _IN_CONVNEXT:
            key, count = re.subn(pattern, new, key, count=1)
            if count:
                break
    return key


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with queries, keys and values of each layer in one, in this order."""
    found: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, value in state.items():
        if match := _PARTS.match(key):
            parts.setdefault((match[1], match[3]), {})[match[2][0]] = value
        else:
            found[key] = value
    for (layer, kind), each in parts.items():
        if each.keys() == {"q", "k", "v"}:
            name = f"encoder.layers.encoder_layer_{layer}.self_attention.in_proj_{kind}"
            found[name] = torch.cat([each[one] for one in "qkv"])
    return found
