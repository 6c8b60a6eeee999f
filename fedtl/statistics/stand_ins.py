"""What stands for a block of examples: one of them by lot, or the mean of its logits.

Why: see :mod:`fedtl.statistics.disclosure`.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.statistics.calibration import Floats, falling_logits, logsumexp
from fedtl.transfer.scoring import Score

_Value = TypeVar("_Value", bound=np.generic)


def lots_of(score: Score) -> np.random.Generator:
    """Return what draws, from what only this site knows."""
    content = np.float64(score.loss_sum).tobytes() + score.truth.tobytes()
    digest = hashlib.sha256(content + score.predicted.tobytes()).digest()
    return generator(int.from_bytes(digest, "little"), "stand-ins")


def drawn_of(
    values: NDArray[_Value], blocks: list[NDArray[np.int64]], lots: np.random.Generator
) -> NDArray[_Value]:
    """Return the value of one member of each block."""
    return values[[int(block[lots.integers(len(block))]) for block in blocks]]


def calibration_rows(score: Score, smallest: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return n rows of logits, the highest first, that blocks' means give, and which are right.

    The wrong ones come first, so that a single block holds both, those of either that are least
    sure; it is right or wrong by lot.
    """
    assert score.logits is not None
    falling = falling_logits(score.logits)
    odds = first_odds(falling)
    surest_wrong_first = np.lexsort((np.where(score.right, odds, -odds), score.right))
    blocks = np.array_split(surest_wrong_first, score.examples // smallest)
    drawn = drawn_of(score.right, blocks, lots_of(score))
    rows, right = [], []
    for side in (False, True):
        own = [block for block, one in zip(blocks, drawn, strict=True) if one == side]
        if own:
            rows.append(_between(mean_logits(falling, own), list(map(len, own))))
            right.append(np.full(len(rows[-1]), side))
    return np.vstack(rows), np.concatenate(right)


def mean_logits(rows: Floats, blocks: list[NDArray[np.int64]]) -> Floats:
    """Return the mean of each block's logits, the first of which is moved to the mean log-odds.

    The log-odds of a mean would say more than the mean of log-odds, which are concave.
    """
    odds, means = first_odds(rows), np.array([rows[block].mean(0) for block in blocks])
    means[:, 0] += np.array([odds[block].mean() for block in blocks]) - first_odds(means)
    return means


def _between(means: Floats, sizes: list[int]) -> Floats:
    """Return as many rows as blocks have members, on the lines through the blocks' means."""
    ends = np.cumsum(sizes)
    if len(means) == 1:
        return np.repeat(means, sizes, 0)
    centres = ends - (np.array(sizes) + 1) / 2
    ranks = np.arange(ends[-1])
    before = np.clip(np.searchsorted(centres, ranks) - 1, 0, len(means) - 2)
    along = ((ranks - centres[before]) / np.diff(centres)[before])[:, None]
    line: Floats = means[before] * (1 - along) + means[before + 1] * along
    return line


def first_odds(rows: Floats) -> Floats:
    """Return the log-odds of the first of each row's logits, shape ``(n,)``."""
    odds: Floats = rows[:, 0] - logsumexp(rows[:, 1:])
    return odds
