"""Pictures and seeded crops of them: what a network that is trained sees beside the picture."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Images
from fedtl.data.input_kinds import PICTURE, InputKind
from fedtl.data.loaded_once import LoadedOnce
from fedtl.determinism import generator

# Share of a picture's area, and height over width: torchvision's RandomResizedCrop, less extreme,
# as blocks that see few pictures should not have to relearn what is frozen below them.
_SMALLEST_AREA, _STRETCH = 0.35, 4 / 3
_RULE = "crop 1"


@dataclass(frozen=True, eq=False)
class WithCrops:
    """N pictures, and after them V crops of some: see :class:`~fedtl.data.dataset.Images`.

    A crop is a part of the picture of random area and shape, and mirrored every other time. It
    depends on the picture, the seed and its number alone.

    Attributes:
        pictures: The N pictures.
        rows: Which of them have crops, M of them, rising.
        views: How many crops each, V; those of number 0 of all come first.
        seed: What crops are drawn from.
    """

    pictures: Images
    rows: NDArray[np.int64]
    views: int
    seed: int
    # A file is read whole for its digest, which its crops need as well.
    _digests: dict[int, bytes] = field(default_factory=dict, init=False, repr=False)

    @property
    def kind(self) -> InputKind:
        """Pictures."""
        return PICTURE

    def __len__(self) -> int:
        return len(self.pictures) + self.views * len(self.rows)

    def digest(self, index: int) -> bytes:
        """See :class:`~fedtl.data.dataset.Items`."""
        row, view = self._place(index)
        found = self._digest(row)
        if view < 0:
            return found
        return hashlib.sha256(found + f"{_RULE} {self.seed} {view}".encode()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        """See :class:`~fedtl.data.dataset.Images`."""
        return self._made(index, self.pictures.load)

    def sources(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of the picture that each is made of.

        Args:
            indices: Shape ``(n,)``.
        """
        count = len(self.pictures)
        crops = self.rows[(indices - count) % len(self.rows)] if len(self.rows) else indices
        return np.where(indices < count, indices, crops)

    def loader(self, indices: NDArray[np.int64]) -> Callable[[int], NDArray[np.uint8]]:
        """Return what loads each of these once, in any thread, and each picture once for all.

        Args:
            indices: Shape ``(n,)``.
        """
        once = LoadedOnce(self.pictures.load, self.sources(indices).tolist())
        return partial(self._made, load=once)

    def _made(self, index: int, load: Callable[[int], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        row, view = self._place(index)
        picture = load(row)
        if view < 0:
            return picture
        content = int.from_bytes(self._digest(row)[:8], "little")
        return cropped(picture, generator(self.seed, _RULE, content, view))

    def _digest(self, row: int) -> bytes:
        found = self._digests.get(row)
        if found is None:
            found = self._digests[row] = self.pictures.digest(row)
        return found

    def _place(self, index: int) -> tuple[int, int]:
        """Return the picture's row, and the number of the crop; -1 for the picture itself."""
        count = len(self.pictures)
        if index < count:
            return index, -1
        view, place = divmod(index - count, len(self.rows))
        return int(self.rows[place]), view


def cropped(picture: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random part of a picture, mirrored every other time.

    Args:
        picture: Shape ``(height, width, 3)``.
        draws: Where chance comes from.
    """
    height, width = picture.shape[:2]
    area = draws.uniform(_SMALLEST_AREA, 1.0) * height * width
    shape = math.exp(draws.uniform(-math.log(_STRETCH), math.log(_STRETCH)))
    wide = max(1, min(width, round(math.sqrt(area / shape))))
    high = max(1, min(height, round(math.sqrt(area * shape))))
    left, top = draws.integers(0, width - wide + 1), draws.integers(0, height - high + 1)
    part = picture[top : top + high, left : left + wide]
    return np.ascontiguousarray(part[:, ::-1] if draws.random() < 0.5 else part)


@dataclass(frozen=True, eq=False)
class CropRows:
    """Where the crops of a feature matrix's rows lie in it.

    Attributes:
        first: Row of the first crop of each of N rows, shape ``(N,)``; -1 where there is none.
        step: From one crop to the next.
        views: How many crops there are of each, V.
    """

    first: NDArray[np.int64]
    step: int
    views: int

    @classmethod
    def of(cls, items: WithCrops) -> CropRows:
        """Return them for the features of all of some pictures and crops."""
        first = np.full(len(items.pictures), -1, np.int64)
        first[items.rows] = len(items.pictures) + np.arange(len(items.rows))
        return cls(first, len(items.rows), items.views)

    def shown(self, rows: NDArray[np.int64], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return for each row, evenly, the row itself or one of its crops.

        Args:
            rows: Shape ``(n,)``; all have crops.
            keys: Random numbers, shape ``(n,)``.
        """
        view = (keys % np.uint64(self.views + 1)).astype(np.int64)
        return np.where(view == 0, rows, self.first[rows] + (view - 1) * self.step)
