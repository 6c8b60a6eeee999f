"""The whole invented world as one file of pictures, rendered on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.pretraining.recipe import Recipe
from fedtl.pretraining.world import pictures_of_kind

# A little larger than the largest view, for crops to choose from.
PICTURE_SIDE = 72
_KINDS_AT_ONCE = 16


def render_world(recipe: Recipe, file: Path, on_kind: Callable[[int], None]) -> NDArray[np.uint8]:
    """Return the world's pictures, from ``file`` if an earlier run has left them there.

    Args:
        recipe: Seed, kinds and pictures of each.
        file: Where they are kept, in NumPy's format; its name should be the recipe's own.
        on_kind: Called with the number of kinds rendered.

    Returns:
        Mapped into memory, shape ``(kinds, pictures, 72, 72, 3)``.
    """
    if not file.exists():
        shape = (recipe.kinds, recipe.pictures, PICTURE_SIDE, PICTURE_SIDE, 3)
        temporary = file.with_name(f".{file.name}.tmp")
        world = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        render = partial(pictures_of_kind, recipe.seed, count=recipe.pictures, side=PICTURE_SIDE)
        # Forked workers could inherit a lock that a thread of torch holds.
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            rendered = pool.map(render, range(recipe.kinds), chunksize=_KINDS_AT_ONCE)
            for kind, pictures in enumerate(rendered):
                world[kind] = pictures
                on_kind(kind + 1)
        world.flush()
        temporary.replace(file)
    on_kind(recipe.kinds)
    kept: NDArray[np.uint8] = np.load(file, mmap_mode="c")
    return kept
