"""A backbone of a user's own that reads class names: a vector for every word, of five numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from fedtl.errors import UsageError
from fedtl.transfer.backbones.base import Backbone, Family
from fedtl.transfer.text_tower import ClassTexts, TextTower, class_texts

SCALE = 20.0


class Named5(Family):
    """Reads texts; pictures are never shown to it."""

    width = 5

    def load(self) -> Backbone:
        raise UsageError("It sees no pictures.")

    def text_tower(self) -> TextTower:
        return TextTower(self._vector, SCALE)

    def _vector(self, text: str) -> Tensor:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())
        return torch.from_numpy(np.random.default_rng(seed).normal(size=self.width))


BACKBONE = f"{__name__}:Named5"
"""For features of the small federations of these tests."""


def texts(classes: int, width: int = 4) -> ClassTexts:
    """Return some vectors for so many classes."""
    tower = TextTower(lambda text: torch.from_numpy(_DRAWN[int(text)][:width]), SCALE)
    return class_texts(tower, [str(one) for one in range(classes)], "{}")


_DRAWN = np.random.default_rng(3).normal(size=(20, 64))
