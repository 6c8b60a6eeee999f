"""``--backbone wordllama``: the mean of a text's word vectors, no network at all."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.registry import needed
from fedtl.transfer.backbones.base import DEFAULT, Backbone, Family
from fedtl.transfer.text_preparation import TextPreparation

# What longer texts would take of memory, at a thousand bytes a token.
_MOST_TOKENS = 32_768
_PADDING = 0


class WordLlama(Family):
    """Token vectors of 256 features (WordLlama, distilled from Llama 2), averaged; MIT licence."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        if self.config.weights != DEFAULT:
            raise UsageError("backbone = wordllama brings its own weights; leave weights out.")
        with _logging_as_it_is():
            package = needed("wordllama", extra="text", by="backbone = wordllama")
        # Its own look-up misses the tokenizer that it brings.
        folder = Path(str(package.__file__)).parent
        found = package.WordLlama.load(cache_dir=folder, disable_download=True)
        vectors = torch.from_numpy(found.embedding).float()
        tokens = _Tokens(found.tokenizer, len(vectors))
        preparation = TextPreparation(
            tokens=tokens,
            tokenizer=hashlib.sha256(found.tokenizer.to_str().encode()).hexdigest(),
            longest=_MOST_TOKENS,
            cut=False,
            padding=_PADDING,
        )
        network = MeanVector(vectors)
        return self.frozen(network, vectors.shape[1], preparation, rule="mean of token vectors 1")


BACKBONE = WordLlama


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Undo that WordLlama's import lets every package log to the standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class _Tokens:
    """The tokens of a text, without special ones."""

    def __init__(self, tokenizer: Any, count: int) -> None:
        tokenizer.no_padding()
        self._tokenizer, self._last = tokenizer, count - 1

    def __call__(self, text: str) -> Sequence[int]:
        found = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [min(token, self._last) for token in found]

    def to_json(self) -> str:
        """Return the tokenizer's file."""
        return str(self._tokenizer.to_str())


class MeanVector(nn.Module):
    """The mean of the vectors of those tokens that are there.

    Args:
        vectors: Shape ``(V, d)``, float32: one for each token.
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Return means, shape ``(n, d)``, of tokens of shape ``(n, length)``."""
        weight = there.to(self.vectors.dtype)
        summed = torch.bmm(weight.unsqueeze(1), self.vectors[tokens]).squeeze(1)
        return summed / weight.sum(1, keepdim=True)
