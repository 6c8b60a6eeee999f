"""Texts are cut at no more tokens than a network of transformers has positions for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoders import write_tiny

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import Backbone, backbone_of

LONG = "the film was good " * 30


def _cut_at(length: int, folder: Path) -> Backbone:
    return backbone_of(RunConfig(backbone=f"hf:{folder}", options=(("max-length", length),)))


def _features(backbone: Backbone) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.forward(*backbone.batch_of(LONG))


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta"])
def test_texts_are_no_longer_than_there_are_positions(name: str, tmp_path: Path) -> None:
    """RoBERTa's positions begin after the padding token's, 1: of 66 there are 64 for tokens."""
    folder = write_tiny(name, tmp_path)
    assert _features(_cut_at(64, folder)).isfinite().all()
    for length in (65, 66, 1000):
        with pytest.raises(UsageError, match=rf"max-length = {length} is above the 64 tokens"):
            _cut_at(length, folder)


def test_positions_begin_after_a_padding_token_whose_number_is_0(tmp_path: Path) -> None:
    import transformers as hf

    folder = write_tiny("roberta", tmp_path)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32}
    settings = {"vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 0, **sizes}
    hf.RobertaModel(hf.RobertaConfig(**settings)).save_pretrained(folder)
    found = backbone_of(RunConfig(backbone=f"hf:{folder}"))
    assert found.told == "texts are cut at 39 tokens (max-length)"
    assert _features(found).isfinite().all()


def test_a_network_without_positions_sets_no_limit(tmp_path: Path) -> None:
    found = _cut_at(1000, write_tiny("t5", tmp_path))
    assert found.batch_of(LONG)[0].shape[1] > 64
    assert _features(found).isfinite().all()
