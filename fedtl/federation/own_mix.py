"""The shared head read with each client's own mix of classes, as sure as new examples allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Tensors
from fedtl.transfer.prior_correction import (
    Adjustment,
    Reading,
    Readings,
    log_prior_ratio,
)
from fedtl.transfer.scoring import Score
from strategies.base import HeadStrategy

_FOLDS = 5
# Rows to which two numbers are fitted.
_ENOUGH = 2000


@dataclass(frozen=True, eq=False)
class OwnMix:
    """What reads the shared head with each client's own mix of classes.

    Attributes:
        adjustment: For any example.
        readings: What it was made from, one per client.
        held_out: Scores of each client's held-out examples, each by a reading to which other
            examples were fitted.
    """

    adjustment: Adjustment
    readings: list[Reading]
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
    there is that, or else held-out rows, five parts of them by one another.

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
    offsets, readings, held_out = [], [], []
    for at, data in enumerate(clients):
        here = _Client(strategy, block.select(np.array([at])), parameters, at)
        labels = data.labels.numpy()
        offset = log_prior_ratio(np.bincount(labels[data.train], minlength=data.classes), supposed)
        said, truth = here.said(data.held_out), labels[data.held_out]
        if training is not None and len(data.left_out):
            place = np.flatnonzero(np.isin(data.train, data.left_out))
            place = place[np.unique(np.linspace(0, len(place) - 1, _ENOUGH).astype(np.int64))]
            known, told = training[at][torch.from_numpy(place)], labels[data.train[place]]
            found = Readings(known, torch.from_numpy(told), offset)
            best = found.likeliest(guess=1.0 if scaled else None)
            each = [best] * len(truth)
        else:
            guess = 1.0 if scaled else here.temperature_for(data.train, offset)
            found = Readings(said, torch.from_numpy(truth), offset)
            best = found.likeliest(guess=guess)
            parts = _parts(truth, None if data.groups is None else data.groups[data.held_out])
            by_part = [found.likeliest(parts != part, guess) for part in range(_FOLDS)]
            each = [by_part[part] for part in parts]
        offsets.append(offset)
        readings.append(best)
        temperature = torch.tensor([one.temperature for one in each], dtype=torch.float64)
        weight = torch.tensor([one.weight for one in each], dtype=torch.float64)
        corrected = said / temperature[:, None] + torch.outer(weight, torch.from_numpy(offset))
        held_out.append(Score.of(corrected, truth, keep_logits=keep_logits))
    scale = torch.tensor([1 / one.temperature for one in readings])
    shift = torch.from_numpy(np.stack(offsets))
    shift *= torch.tensor([one.weight for one in readings], dtype=torch.float64)[:, None]
    return OwnMix(Adjustment(scale, shift.float()), readings, held_out)


class _Client:
    """The shared head at one client."""

    def __init__(
        self, strategy: HeadStrategy, block: ClientBlock, parameters: Tensors, at: int
    ) -> None:
        self._form, self._block = strategy.head, block
        self._head = {name: value[at : at + 1] for name, value in parameters.items()}

    def said(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the head's outputs for these rows, ``(n, K)``."""
        if not len(rows):
            return torch.empty(0, self._block.classes, dtype=torch.float64)
        taken = self._block.take(torch.from_numpy(rows)[None], slice(0, 1))
        return self._form.logits(self._head, taken)[0].double()

    def temperature_for(self, rows: NDArray[np.int64], offset: NDArray[np.float64]) -> float:
        """Return the temperature that makes these rows' labels likeliest."""
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _ENOUGH).astype(np.int64))]
        labels = self._block.labels[torch.from_numpy(rows)]
        return Readings(self.said(rows), labels, offset).likeliest().temperature


def _parts(labels: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return each row's part, shape ``(n,)``: whole groups, and alike in classes as can be."""
    units = np.arange(len(labels)) if groups is None else groups
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    part = np.empty(len(first), np.int64)
    part[np.argsort(labels[first], kind="stable")] = np.arange(len(first)) % _FOLDS
    return part[unit]
