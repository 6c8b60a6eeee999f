"""Trees of folders with pictures, and how they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from opened_data import png

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.sources import open_dataset


def tree(root: Path, names: Sequence[str]) -> Path:
    for shade, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shade % 256))
    return root


def opened_as(path: Path, **reading: str) -> Dataset:
    return open_dataset(RunConfig(data=str(path), **reading))


def names_in(*levels: str, files: int = 2) -> list[str]:
    """Return files in all combinations of folders, each level a text of names."""
    found = [""]
    for level in levels:
        found = [f"{above}{name}/" for above in found for name in level.split()]
    return [f"{folder}{number}.png" for folder in found for number in range(files)]


def tops_of(data: Dataset, rows: np.ndarray) -> set[str]:
    return {key.split("/")[0] for key, chosen in zip(data.keys, rows, strict=True) if chosen}
