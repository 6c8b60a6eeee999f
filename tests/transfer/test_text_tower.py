"""Class names read by a text tower: as the networks' own packages read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from named_classes import SCALE
from tiny_encoders import write_tiny

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import text_tower_of
from fedtl.transfer.text_tower import PROMPT, TextTower, class_texts, prompts_of

NAMES = ("good_day", "bad", "a fine place")


def _length_one(vector: Any) -> Any:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    write_tiny("clip", folder)
    return folder / "clip"


def test_names_of_clip_are_those_of_transformers(clip: Path) -> None:
    import transformers as hf

    model = hf.CLIPModel.from_pretrained(clip).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(clip)
    texts = ["a photo of a good day", "a photo of a bad", "a photo of a a fine place"]
    picture = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 32, 32))).float()
    with torch.inference_mode():
        rows = [
            model(pixel_values=picture, **tokenizer([text], return_tensors="pt")) for text in texts
        ]
    expected = np.stack([row.logits_per_image[:, 0].numpy() for row in rows], 1)
    found = class_texts(text_tower_of(RunConfig(backbone=f"hf:{clip}")), NAMES, "")
    pictures = _length_one(rows[0].image_embeds.numpy().astype(np.float64))
    head = found.head
    np.testing.assert_allclose(
        pictures @ head["weight"].T + head["bias"], expected, rtol=1e-5, atol=1e-5
    )


def test_siglip_sees_texts_of_the_length_that_it_saw_in_training(
    clip: Path, tmp_path: Path
) -> None:
    import transformers as hf

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    blocks = {**sizes, "num_attention_heads": 2}
    tokenizer = hf.AutoTokenizer.from_pretrained(clip)
    torch.manual_seed(0)
    model = hf.SiglipModel(
        hf.SiglipConfig(
            text_config={"vocab_size": 64, "max_position_embeddings": 16, **blocks},
            vision_config={"image_size": 32, "patch_size": 8, **blocks},
        )
    ).eval()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    hf.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    found = text_tower_of(RunConfig(backbone=f"hf:{tmp_path}"))
    tokens = tokenizer(["the good"], padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        # Padding was read in its training, without a mask.
        told = model.text_model(input_ids=tokens["input_ids"]).pooler_output[0]
    np.testing.assert_allclose(found.vector("the good"), told, rtol=1e-4, atol=1e-5)
    assert found.scale == pytest.approx(float(model.logit_scale.exp()))


@pytest.mark.parametrize("backbone", ["fedtl-tiny", "squeezenet1_1", "wordllama"])
def test_a_network_without_a_text_tower_says_so(backbone: str) -> None:
    with pytest.raises(UsageError, match=r"has no half that reads names .*open_clip:ARCH@FILE"):
        text_tower_of(RunConfig(backbone=backbone))


def test_the_picture_half_alone_reads_no_texts(clip: Path) -> None:
    for settings in ("#pool=cls", "#layer=-1"):
        with pytest.raises(UsageError, match="has no half that reads names"):
            text_tower_of(RunConfig(backbone=f"hf:{clip}{settings}"))


def test_a_class_of_several_prompts_is_the_mean_of_their_directions() -> None:
    drawn = np.random.default_rng(1).normal(size=(4, 6)) * np.array([[1], [5], [2], [9]])
    said: list[str] = []

    def vector(text: str) -> torch.Tensor:
        said.append(text)
        return torch.from_numpy(drawn[len(said) - 1])

    found = class_texts(TextTower(vector, SCALE), ("a_b", "c"), "one {} here | {}")
    assert said == ["one a b here", "a b", "one c here", "c"]
    directions = _length_one(drawn)
    expected = _length_one(np.stack([directions[:2].mean(0), directions[2:].mean(0)]))
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-12)
    np.testing.assert_allclose(found.head["weight"], SCALE * expected, rtol=1e-12)


def test_a_prompt_has_one_place_for_the_name() -> None:
    assert prompts_of("") == [PROMPT]
    for wrong in ("a photo", "{} and {}", "a {} |", "|"):
        with pytest.raises(UsageError, match=r"should have \{\} once"):
            prompts_of(wrong)


def test_a_tower_whose_vectors_are_no_numbers_is_refused() -> None:
    tower = TextTower(lambda _: torch.full((3,), float("nan")), SCALE)
    with pytest.raises(UsageError, match="no finite vectors"):
        class_texts(tower, ("a", "b"), "")
