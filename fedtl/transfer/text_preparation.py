"""From texts to tokens in batches of few fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.input_kinds import TEXT, InputKind
from fedtl.errors import UnreadableImageError
from fedtl.transfer.preparation import BatchBudget

_SHORTEST = 8
# In tokens: a core's arithmetic units are busy with some hundreds.
_BATCH = BatchBudget(1024, 32, 32_768, 1024)


class Tokens(Protocol):
    """Returns a text's tokens, the special ones included; from any thread."""

    def __call__(self, text: str) -> Sequence[int]:
        """Return the tokens."""
        ...


@dataclass(frozen=True)
class TextPreparation:
    """Tokenise, cut and pad.

    A text is padded to the next of 8, 12, 16, 24, 32, 48, 64, … tokens, so that its features depend
    on no other text; a quarter of these tokens is padding at most.

    Attributes:
        tokens: The tokenizer.
        tokenizer: All that determines the tokens, as a text.
        longest: Tokens of the longest text.
        cut: Whether longer texts are cut there, and not refused.
        padding: The token that fills up.
        filled: Whether all are padded to ``longest`` instead.
    """

    tokens: Tokens
    tokenizer: str
    longest: int
    cut: bool
    padding: int
    filled: bool = False

    @property
    def kind(self) -> InputKind:
        """Texts."""
        return TEXT

    @property
    def one_shape(self) -> bool:
        """Texts differ in length."""
        return False

    def prepare(self, item: str) -> NDArray[np.int64]:
        """Return a text's tokens, shape ``(n,)``.

        Raises:
            UnreadableImageError: It has none, or too many where texts are not cut.
        """
        found = np.array(self.tokens(item), np.int64)
        if not len(found):
            raise UnreadableImageError("a text without a single token")
        if len(found) > self.longest and not self.cut:
            raise UnreadableImageError(f"longer than {self.longest:,} tokens")
        return found[: self.longest]

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        least = self.longest if self.filled else padded(len(prepared), _SHORTEST)
        return min(self.longest, least)

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return _BATCH.inputs(length, on_cores=on_cores)

    def collate(
        self, prepared: Sequence[NDArray[np.int64]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return tokens, and 1 where there is one: shape ``(size, length)`` each, int64."""
        tokens = np.full((size, length), self.padding, np.int64)
        there = np.zeros((size, length), np.int64)
        there[len(prepared) :, 0] = 1
        for row, found in enumerate(prepared):
            tokens[row, : len(found)] = found
            there[row, : len(found)] = 1
        return torch.from_numpy(tokens), torch.from_numpy(there)

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return {
            "tokenizer": self.tokenizer,
            "longest": self.longest,
            "cut": self.cut,
            "padding": self.padding,
            "shortest": _SHORTEST,
        }


def padded(length: int, shortest: int) -> int:
    """Return the least of n, 3n/2, 2n, 3n, 4n, … that is not below a length.

    Args:
        length: The length.
        shortest: n, even.
    """
    step = shortest
    while 2 * step < length:
        step *= 2
    return next(size for size in (step, step * 3 // 2, step * 2) if size >= length)
