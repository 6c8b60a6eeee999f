"""Networks for texts: BERT and RoBERTa, GPT and kin, T5's encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedtl.errors import UnreadableImageError, UsageError
from fedtl.registry import needed
from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.text_preparation import TextPreparation

MEAN, FIRST, LAST = "mean", "cls", "last"
_POOLS = (MEAN, FIRST, LAST)
_LONGEST = 512
# As sentence-transformers says it in 1_Pooling/config.json, by version.
_THEIR_POOLS = {"mean": MEAN, "cls": FIRST, "lasttoken": LAST}


def text_network(place: ModelPlace, longest: int) -> tuple[nn.Module, TextPreparation, str]:
    """Return a network for texts, what prepares them, and how vectors are pooled, as a name.

    Args:
        place: The model.
        longest: Tokens at which texts are cut; 0 for the model's own number, at most 512.

    Raises:
        UsageError: The model cannot be read, not be pooled so, or takes no texts that long.
    """
    configuration = place.configuration()
    sequence_to_sequence = bool(getattr(configuration, "is_encoder_decoder", False))
    whole = place.model()
    model = whole.get_encoder() if sequence_to_sequence else whole
    pool, after, most = _own_ways(place)
    pool = place.pool or pool or _usual_pool(place, configuration)
    if pool not in _POOLS:
        raise UsageError(f"pool = {pool!r} is not known; it is one of {', '.join(_POOLS)}.")
    tokenizer = place.processor("AutoTokenizer")
    identity = _identity(tokenizer)
    positions = _positions(model)
    if longest > positions > 0:
        raise UsageError(
            f"max-length = {longest} is above the {positions:,} tokens that hf:{place.where} has "
            f"positions for (max_position_embeddings); choose at most {positions}."
        )
    longest = longest or _fitting(positions, tokenizer, most)
    preparation = TextPreparation(
        tokens=_Tokens(tokenizer, model.get_input_embeddings().num_embeddings, longest),
        tokenizer=identity,
        longest=longest,
        cut=True,
        padding=next(
            (t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0
        ),
    )
    return TextEncoder(model, pool, place.layer, after), preparation, pool


def _own_ways(place: ModelPlace) -> tuple[str, list[nn.Module], int]:
    """Return how sentence-transformers pools, what comes after it, and the longest text."""
    if place.path("modules.json") is None:
        return "", [], 0
    package = needed("sentence_transformers", extra="text", by=f"backbone = hf:{place.where}")
    found = place.loaded(package.SentenceTransformer, device="cpu")
    pool, after = "", []
    for module in list(found)[1:]:
        if type(module).__name__ == "Pooling":
            mode = module.pooling_mode
            modes = [mode] if isinstance(mode, str) else list(mode)
            if len(modes) != 1 or str(modes[0]) not in _THEIR_POOLS:
                raise UsageError(
                    f"{place.where} pools by {', '.join(map(str, modes))}, which fedtl does not; "
                    f"choose one: hf:{place.where}#pool=mean"
                )
            pool = _THEIR_POOLS[str(modes[0])]
        else:
            after.append(module)
    return pool, after, int(found.max_seq_length or 0)


def _usual_pool(place: ModelPlace, configuration: Any) -> str:
    """Return the last token's vector for a network that reads one way only, else the mean."""
    modeling_auto = needed("transformers.models.auto.modeling_auto", extra="text", by="hf")
    kind = configuration.model_type
    reads_both_ways = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    one_way = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not reads_both_ways
    encodes = getattr(configuration, "is_encoder_decoder", False)
    return LAST if one_way and not encodes else MEAN


def _positions(model: Any) -> int:
    """Return how many tokens the network has positions for; 0 or less where it sets no limit."""
    # GPT-2's n_positions is read by this name, too.
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    for name, module in model.named_modules():
        # RoBERTa and kin count positions from the padding token's number.
        before = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and before is not None:
            positions -= int(before) + 1
    return positions


def _fitting(positions: int, tokenizer: Any, most: int) -> int:
    """Return how many tokens texts are cut at unless a person says so, at most 512."""
    told = int(min(tokenizer.model_max_length, 2**31))
    return min(found for found in (_LONGEST, positions, told, most) if found > 0)


class _Tokens:
    """The tokens of a text, special ones included.

    Args:
        tokenizer: The model's.
        known: How many tokens the network has a vector for.
        longest: How many a text is cut to; the special ones stay.
    """

    def __init__(self, tokenizer: Any, known: int, longest: int) -> None:
        self._tokenizer, self._known, self._longest = tokenizer, known, longest
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            # Set once: a tokenizer that is set anew for every text is not for several threads.
            self._fast.no_padding()
            self._fast.enable_truncation(longest)

    def __call__(self, text: str) -> Sequence[int]:
        if self._fast is not None:
            found = self._fast.encode(text).ids
        else:
            found = self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"]
        if max(found, default=0) >= self._known:
            raise UnreadableImageError("a token that the network has no vector for")
        return list(found)

    def to_json(self) -> str:
        """Return the tokenizer's file, which cuts texts; empty where the tokenizer has none."""
        return "" if self._fast is None else str(self._fast.to_str())


def _identity(tokenizer: Any) -> str:
    """Return a digest of all that determines a text's tokens."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        fast.no_padding()
        fast.no_truncation()
        told = fast.to_str()
    else:
        told = json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    return hashlib.sha256(told.encode()).hexdigest()


class TextEncoder(nn.Module):
    """From tokens to one vector a text.

    Args:
        model: Gives a vector for each token.
        pool: ``mean`` over the tokens that are there, the first one's (``cls``), or the ``last``
            one's.
        layer: Whose vectors are taken; ``None`` for what the model gives.
        after: Modules of sentence-transformers that follow.
    """

    def __init__(
        self, model: nn.Module, pool: str, layer: int | None, after: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.model, self.after = model, nn.ModuleList(after)
        self._pool, self._layer = pool, layer

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Return vectors, shape ``(n, d)``.

        Args:
            tokens: Shape ``(n, length)``.
            there: 1 for a token, 0 for what fills up behind it; of the same shape.
        """
        vectors = token_vectors(self.model, self._layer, input_ids=tokens, attention_mask=there)
        pooled = _pooled(vectors, there, self._pool)
        for module in self.after:
            pooled = module({"sentence_embedding": pooled})["sentence_embedding"]
        return pooled


def token_vectors(model: nn.Module, layer: int | None, **given: Tensor) -> Tensor:
    """Return a layer's outputs, shape ``(n, length, d)``."""
    if layer is None:
        found: Tensor = model(**given).last_hidden_state
        return found
    layers = model(**given, output_hidden_states=True).hidden_states
    if not -len(layers) <= layer < len(layers):
        raise UsageError(f"layer = {layer} is not there: it is from {-len(layers)} to -1, or 0 up.")
    chosen: Tensor = layers[layer]
    return chosen


def _pooled(vectors: Tensor, there: Tensor, pool: str) -> Tensor:
    if pool == FIRST:
        return vectors[:, 0]
    if pool == LAST:
        last = there.sum(1) - 1
        return vectors[torch.arange(vectors.shape[0], device=vectors.device), last]
    weight = there.to(vectors.dtype)
    return torch.bmm(weight.unsqueeze(1), vectors).squeeze(1) / weight.sum(1, keepdim=True)
