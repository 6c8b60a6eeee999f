"""What a site tells of scores that are made up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from fedtl.statistics.disclosure import (
    SMALLEST_CELL,
    Disclosed,
)
from fedtl.transfer.scoring import Score


def sites_score(classes: int, count: int, seed: int, scale: float = 1.0) -> Score:
    draws = np.random.default_rng(seed)
    truth = draws.integers(classes, size=count)
    logits = scale * (np.eye(classes)[truth] + draws.normal(size=(count, classes)))
    return _scored(logits.astype(np.float32), truth)


def _scored(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> Score:
    losses = -log_softmax(logits.astype(float), 1)[np.arange(len(truth)), truth]
    return Score(float(losses.sum()), truth, logits.argmax(1), logits.shape[1], logits)


def told_of(score: Score, smallest: int = SMALLEST_CELL) -> Disclosed:
    return Disclosed.of(score, smallest, binned=True, probabilities=True)


def spans_of(size: int) -> list[tuple[int, int]]:
    """Return where each block of a class of this size begins and ends."""
    blocks = size // SMALLEST_CELL
    ends = np.cumsum([size // blocks + (one < size % blocks) for one in range(blocks)])
    return list(pairwise([0, *ends.tolist()]))
