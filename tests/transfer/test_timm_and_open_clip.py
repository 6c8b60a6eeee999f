"""Networks of timm's and OpenCLIP's: pooled features and pictures as these packages have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_open_clip import write_tiny_open_clip

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import backbone_of, text_tower_of
from fedtl.transfer.text_tower import class_texts

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    theirs = timm.create_model(name, pretrained=False).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    found = backbone_of(RunConfig(backbone=f"timm:{name}", weights=str(tmp_path / "w.safetensors")))
    told = timm.data.resolve_model_data_config(theirs)
    picture = timm.data.create_transform(**told, is_training=False)(Image.fromarray(PIXELS))
    with torch.inference_mode():
        pooled = theirs.forward_head(theirs.forward_features(picture[None]), pre_logits=True)
    ours = found.forward(found.preprocess(PIXELS)[None])
    assert found.feature_size == pooled.shape[1]
    np.testing.assert_allclose(ours, pooled, rtol=1e-3, atol=1e-3)


def test_features_are_those_of_open_clip(tmp_path: Path) -> None:
    import open_clip

    theirs, backbone = write_tiny_open_clip(tmp_path)
    found = backbone_of(RunConfig(backbone=backbone))
    transform = open_clip.image_transform(64, is_train=False)
    with torch.inference_mode():
        picture = transform(Image.fromarray(PIXELS))[None]
        expected = theirs.encode_image(picture, normalize=True)
        tokens = open_clip.get_tokenizer("tiny")(["a photo of a cat"])
        logits, _ = theirs.get_logits(picture, tokens)
    ours = found.forward(found.preprocess(PIXELS)[None])
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)
    named = class_texts(text_tower_of(RunConfig(backbone=backbone)), ["cat"], "")
    np.testing.assert_allclose(ours @ named.head["weight"].T, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "weights", "size", "told"),
    [
        ("timm:resnet19", "random", 0, "not known; did you mean 'resnet18'"),
        ("timm:resnet18", "DEFAULT", 0, "not on this machine; give a file .*--download"),
        ("timm:resnet18", "BEST", 0, "Unknown weights 'BEST'"),
        ("timm:vit_tiny_patch16_224", "random", 96, "takes no pictures of 96 pixels"),
        ("open_clip:RN5@w.pt", "DEFAULT", 0, "no architecture 'RN5'; did you mean 'RN50'"),
        ("open_clip:RN50", "DEFAULT", 0, "should be open_clip:ARCH@FILE"),
        ("open-clip:RN50@absent.pt", "DEFAULT", 0, "absent.pt does not exist"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    backbone: str, weights: str, size: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=told):
        backbone_of(RunConfig(backbone=backbone, weights=weights, image_size=size))


def test_random_weights_follow_the_seed() -> None:
    seeds = [
        backbone_of(RunConfig(backbone="timm:resnet18", weights="random", seed=seed)).fingerprint
        for seed in (1, 1, 2)
    ]
    assert seeds[0] == seeds[1] != seeds[2]
