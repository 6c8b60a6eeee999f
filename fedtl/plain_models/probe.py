"""Inputs of no meaning, on which two networks are compared and along which one is traced."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from fedtl.data.input_kinds import SOUND, TEXT
from fedtl.data.rows import Row
from fedtl.data.schema import Column, NumericColumn
from fedtl.data.sound import Sound
from fedtl.transfer.preparation import Preparation
from fedtl.transfer.table_preparation import TablePreparation

_SIDE = 96
# As of telephones: brought to a higher rate they lack high bands, and features hardly vary there.
_RATE = 8_000
_WORDS = ("this", "film", "was", "not", "really", "bad", "and", "the", "food", "is", "great")


def probe(preparation: Preparation, count: int, seed: int) -> tuple[Tensor, ...]:
    """Return a batch of inputs that a seed draws, as the network takes them.

    Args:
        preparation: What makes the batch.
        count: How many.
        seed: Determines them, and for texts and recordings how long they are.
    """
    random = np.random.default_rng(seed)
    prepared = [preparation.prepare(_drawn(preparation, random, seed)) for _ in range(count)]
    length = max(map(preparation.padded_length, prepared))
    return preparation.collate(prepared, length, count)


def _drawn(preparation: Preparation, random: np.random.Generator, seed: int) -> Any:
    if preparation.kind == TEXT:
        return " ".join(random.choice(_WORDS, 5 + 4 * seed))
    if isinstance(preparation, TablePreparation):
        cells = {column.name: _cell(column, random) for column in preparation.schema.columns}
        return Row(cells)
    if preparation.kind == SOUND:
        return Sound(random.normal(0, 0.1, _RATE * (2 + seed) // 4).astype(np.float32), _RATE)
    # Coarse squares, as pictures have, and grain.
    coarse = random.integers(0, 256, (6, 6, 3)).repeat(_SIDE // 6, 0).repeat(_SIDE // 6, 1)
    grain = random.integers(-20, 21, (_SIDE, _SIDE, 3))
    return np.clip(coarse + grain, 0, 255).astype(np.uint8)


def _cell(column: Column, random: np.random.Generator) -> str:
    if isinstance(column, NumericColumn):
        return f"{random.normal(column.centre, column.scale):.6f}"
    return str(random.choice(column.categories))
