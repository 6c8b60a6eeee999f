"""Vectors of a text, of which the first so many count, as one row of numbers."""

from __future__ import annotations

import torch
from torch import Tensor

# Half precision holds no whole number above 256 for certain, so how many count is two digits.
_BASE = 128


def packed(vectors: Tensor, there: Tensor) -> Tensor:
    """Return the numbers of each input's vectors, and how many of these count, ``(n, D + 2)``.

    Args:
        vectors: Shape ``(n, ...)``.
        there: 1 for each place that counts, 0 behind them, shape ``(n, length)``.
    """
    count = there.sum(1, keepdim=True).long()
    digits = torch.cat([count // _BASE, count % _BASE], 1)
    return torch.cat([vectors.flatten(1), digits.to(vectors.dtype)], 1)


def vectors_of(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the vectors of :func:`packed` rows, shape ``(n, *shape)``."""
    return rows[:, :-2].reshape(len(rows), *shape)


def there_of(rows: Tensor, length: int, kind: torch.dtype) -> Tensor:
    """Return which places of :func:`packed` rows count, shape ``(n, length)``.

    Args:
        rows: Shape ``(n, D + 2)``.
        length: How many places there are.
        kind: The type of what is returned; any floating one is that of the rows.
    """
    count = rows[:, -2:-1].long() * _BASE + rows[:, -1:].long()
    found = torch.arange(length, device=rows.device) < count
    return found.to(rows.dtype if kind.is_floating_point else kind)
