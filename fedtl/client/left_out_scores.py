"""Scores on training rows, each by heads trained without that row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientData
from fedtl.transfer.left_out import units
from fedtl.transfer.prior_correction import RowReadings, log_prior_ratio
from fedtl.transfer.scoring import Score
from strategies.base import AloneHead, HeadStrategy


def left_out_scores(
    strategy: HeadStrategy,
    clients: Sequence[ClientData],
    training: Sequence[Tensor],
    alone: Sequence[AloneHead],
    everyone: NDArray[np.int64],
    readings: Sequence[RowReadings],
    *,
    keep_logits: bool,
) -> dict[str, list[Score]]:
    """Return scores on each client's ``left_out`` rows, by the prefix of what is scored.

    The correction by a client's own class frequencies counts them without the row, too.

    Args:
        strategy: With a global head.
        clients: The clients.
        training: What the final head says of each client's training rows, each left out of it,
            shape ``(n, K)``.
        alone: Their local-only heads, with what they say of the same rows.
        everyone: All clients' examples of each class, shape ``(K,)``.
        readings: How the final head is read for the correction: each ``left_out`` row of a client.
        keep_logits: Whether scores hold the logits.
    """
    prefixes = ["local-only-", "", "corrected-"]
    if strategy.config.prior_correction:
        prefixes.append("personal-")
    scores: dict[str, list[Score]] = {prefix: [] for prefix in prefixes}
    supposed = everyone if strategy.class_prior == "examples" else None
    for data, said, lone, reading in zip(clients, training, alone, readings, strict=True):
        place = torch.from_numpy(np.flatnonzero(np.isin(data.train, data.left_out)))
        truth = data.labels.numpy()[data.train][place.numpy()]
        lone_said = said if lone.left_out is None else torch.from_numpy(lone.left_out)
        corrected = reading.corrected(said[place], _offsets(data, supposed)[place])
        told = (lone_said[place], said[place], corrected, corrected)
        for prefix, logits in zip(prefixes, told, strict=False):
            scores[prefix].append(Score.of(logits, truth, keep_logits=keep_logits))
    return scores


def _offsets(data: ClientData, everyone: NDArray[np.int64] | None) -> Tensor:
    """Return log π_k - log π, without counting the row itself, for each training row: (n, K)."""
    labels = data.labels.numpy()[data.train]
    own = np.bincount(labels, minlength=data.classes)
    offsets = np.empty((len(labels), data.classes))
    groups = np.arange(len(labels)) if data.groups is None else data.groups[data.train]
    for rows in units(groups):
        gone = np.bincount(labels[rows.numpy()], minlength=data.classes)
        others = None if everyone is None else everyone - gone
        offsets[rows.numpy()] = log_prior_ratio(own - gone, others)
    return torch.from_numpy(offsets)
