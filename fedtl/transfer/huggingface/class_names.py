"""The half of CLIP, SigLIP and kin that reads texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.text_tower import TextTower

# Networks that saw texts of one length only, filled up to it, and no mask of what is there.
_FILLED_UP = ("siglip",)


def names_read(place: ModelPlace) -> TextTower | None:
    """Return a model's half for texts; ``None`` if it has none.

    Args:
        place: Where the model lies.

    Raises:
        UsageError: The model or its tokenizer cannot be read.
    """
    model = place.model().requires_grad_(False)
    scale = _scale(model)
    if scale is None:
        return None
    tokenizer = place.processor("AutoTokenizer")
    longest = int(model.config.text_config.max_position_embeddings)
    filled = str(model.config.model_type).startswith(_FILLED_UP)

    def vector(text: str) -> Tensor:
        tokens = tokenizer(
            [text],
            padding="max_length" if filled else False,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        given = {"input_ids": tokens["input_ids"]} if filled else tokens
        with torch.inference_mode():
            found = model.get_text_features(**given)
        vectors: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return vectors[0]

    return TextTower(vector, scale)


def _scale(model: Any) -> float | None:
    """Return what a model multiplies cosines with; ``None`` if it does not compare texts so."""
    found = getattr(model, "logit_scale", None)
    if not hasattr(model, "get_text_features") or found is None:
        return None
    return float(found.exp())
