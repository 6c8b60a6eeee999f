"""The shared head, read with each client's own mix of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.folds import parts_of
from fedtl.transfer.heads import Tensors
from fedtl.transfer.prior_correction import (
    Adjustment,
    Reading,
    Readings,
    RowReadings,
    log_prior_ratio,
)
from fedtl.transfer.scoring import Score
from strategies.base import HeadStrategy

_PARTS = 5
# Rows to which two numbers are fitted.
_ENOUGH = 1000


@dataclass(frozen=True, eq=False)
class OwnMix:
    """Reads the shared head with each client's own mix of classes.

    Attributes:
        adjustment: For any example.
        left_out: For each client's training rows that are left out of the head, in their order;
            each to be read by what other examples were fitted to.
        held_out: Scores of each client's held-out rows, likewise.
    """

    adjustment: Adjustment
    left_out: list[RowReadings]
    held_out: list[Score]


def own_mix(
    strategy: HeadStrategy,
    block: ClientBlock,
    parameters: Tensors,
    clients: Sequence[ClientData],
    everyone: NDArray[np.int64],
    training: Sequence[Tensor] | None,
    *,
    keep_logits: bool,
) -> OwnMix:
    """Return the correction of the shared head for each client.

    π_k is of the client's training rows. How the head is read is not: one that fits them all is
    likeliest for them if it is as sure as can be, and the correction then says nothing. That is
    fitted to what the head says of rows that did not make it: training rows, each left out, where
    there is that, or else held-out rows; and each of them is read by what four fifths of the others
    were fitted to.

    Args:
        strategy: With a global head.
        block: The clients, standardised as the server says.
        parameters: The final head, each ``(C, *shape)``.
        clients: What they hold.
        everyone: All clients' examples of each class, shape ``(K,)``.
        training: What the final head says of each client's training rows, each left out of it,
            shape ``(n, K)``; ``None`` if it is not told.
        keep_logits: Whether scores hold the logits.
    """
    supposed = everyone if strategy.class_prior == "examples" else None
    scaled = strategy.outputs in ("probability", "log-odds")
    offsets, readings, left_out, held_out = [], [], [], []
    for at, data in enumerate(clients):
        here = _Client(strategy, block.select(np.array([at])), parameters, at)
        labels = data.labels.numpy()
        offset = log_prior_ratio(np.bincount(labels[data.train], minlength=data.classes), supposed)
        said, truth = here.said(data.held_out), labels[data.held_out]
        guess = 1.0 if scaled else here.temperature_for(data.train, offset)
        if training is not None and len(data.left_out):
            place = np.flatnonzero(np.isin(data.train, data.left_out))
            known = training[at][torch.from_numpy(place)]
            best, of_rows = _fitted(known, data, data.train[place], offset, guess)
            of_held_out = [best] * len(truth)
        else:
            best, of_held_out = _fitted(said, data, data.held_out, offset, guess)
            of_rows = []
        left_out.append(RowReadings.of(of_rows))
        corrected = RowReadings.of(of_held_out).corrected(said, torch.from_numpy(offset))
        held_out.append(Score.of(corrected, truth, keep_logits=keep_logits))
        offsets.append(best.weight * offset)
        readings.append(best)
    scale = torch.tensor([1 / one.temperature for one in readings])
    shift = torch.from_numpy(np.stack(offsets)).float()
    return OwnMix(Adjustment(scale, shift), left_out, held_out)


def _fitted(
    scores: Tensor,
    data: ClientData,
    rows: NDArray[np.int64],
    offset: NDArray[np.float64],
    guess: float,
) -> tuple[Reading, list[Reading]]:
    """Return the best reading of these rows, and for each row that of the other parts."""
    labels = data.labels.numpy()[rows]
    groups = None if data.groups is None else data.groups[rows]
    some = _spread(len(labels))
    counts = None
    if groups is not None:
        # Examples of a patient are alike: however many they are, they count as one.
        _, unit, sizes = np.unique(groups[some], return_inverse=True, return_counts=True)
        counts = 1 / sizes[unit]
    told = torch.from_numpy(labels[some])
    found = Readings(scores[torch.from_numpy(some)], told, offset, counts=counts)
    part = parts_of(labels, groups, _PARTS)
    by_part = [found.likeliest(np.flatnonzero(part[some] != one), guess) for one in range(_PARTS)]
    return found.likeliest(guess=guess), [by_part[one] for one in part]


class _Client:
    """The shared head at one client."""

    def __init__(
        self, strategy: HeadStrategy, block: ClientBlock, parameters: Tensors, at: int
    ) -> None:
        self._form, self._block = strategy.head, block.seen_by(strategy.head)
        self._head = {name: value[at : at + 1] for name, value in parameters.items()}

    def said(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the head's outputs for these rows, ``(n, K)``."""
        if not len(rows):
            return torch.empty(0, self._block.classes, dtype=torch.float64)
        taken = self._block.take(torch.from_numpy(rows)[None], slice(0, 1))
        return self._form.logits(self._head, taken)[0].double()

    def temperature_for(self, rows: NDArray[np.int64], offset: NDArray[np.float64]) -> float:
        """Return the temperature that makes these rows' labels likeliest."""
        rows = rows[_spread(len(rows))]
        labels = self._block.labels[torch.from_numpy(rows)]
        return Readings(self.said(rows), labels, offset).likeliest().temperature


def _spread(count: int) -> NDArray[np.int64]:
    """Return so many row numbers, evenly spread if there are more."""
    if count <= _ENOUGH:
        return np.arange(count)
    return np.linspace(0, count - 1, _ENOUGH).astype(np.int64)
