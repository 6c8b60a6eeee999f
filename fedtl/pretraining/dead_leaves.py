"""Dead leaves: pictures of random shapes that cover each other.

They share with photographs what matters at the size of a patch: edges, corners and flat areas at
every scale (A. B. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", IJCV 2001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator

Pictures = NDArray[np.float32]
Progress = Callable[[int, int], None]

_PICTURE_SIDE = 32
_PICTURES_AT_ONCE = 50
_LEAVES = 100
_SMALLEST_RADIUS, _LARGEST_RADIUS = 1.5, 20.0
# Leaves may lie out of focus: the width of an edge, in pixels.
_SHARPEST, _SOFTEST = 1.0, 4.0


def dead_leaves(count: int, seed: int, on_progress: Progress) -> Pictures:
    """Render pictures of ellipses and rectangles that cover each other.

    Radii follow a power law, of density proportional to r⁻³, which makes the picture look the same
    at every scale; colours vary mostly in lightness, as in photographs.

    Args:
        count: Number of pictures.
        seed: Determines them.
        on_progress: Called with the pictures done and their number.

    Returns:
        Shape ``(count, 3, 32, 32)``, on the scale 0 to 1.
    """
    blocks = []
    for start in range(0, count, _PICTURES_AT_ONCE):
        rng = generator(seed, "dead leaves", start)
        blocks.append(_render(min(_PICTURES_AT_ONCE, count - start), rng))
        on_progress(min(start + _PICTURES_AT_ONCE, count), count)
    return np.concatenate(blocks)


def _render(count: int, rng: np.random.Generator) -> Pictures:
    side, each = _PICTURE_SIDE, (_LEAVES, count)
    small, large = _SMALLEST_RADIUS**-2, _LARGEST_RADIUS**-2
    radius = (small + rng.random(each) * (large - small)) ** -0.5
    aspect = rng.uniform(0.3, 1.0, each)
    angle = rng.uniform(0, np.pi, each)
    x, y = rng.uniform(-4, side + 4, (2, *each))
    rectangular = rng.random(each) < 1 / 3
    edge = rng.uniform(_SHARPEST, _SOFTEST, each)
    shading = rng.normal(0, 0.15, each)
    mean = rng.uniform(0.2, 0.8, (count, 1)) + 0.1 * rng.normal(size=(count, 3))
    contrast = rng.uniform(0.1, 0.35, (count, 1))
    lightness = contrast * rng.normal(size=(*each, 1))
    colour = mean + lightness + 0.06 * rng.normal(size=(*each, 3))

    def spread(values: NDArray[np.float64]) -> Pictures:
        return values.astype(np.float32)[..., None, None]

    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    canvas = np.broadcast_to(spread(mean), (count, 3, side, side))
    for leaf in range(_LEAVES):
        cosine, sine = spread(np.cos(angle[leaf])), spread(np.sin(angle[leaf]))
        across, down = columns - spread(x[leaf]), rows - spread(y[leaf])
        u = (cosine * across + sine * down) / spread(radius[leaf])
        v = (cosine * down - sine * across) / spread(radius[leaf] * aspect[leaf])
        distance = np.where(
            rectangular[leaf][:, None, None], np.maximum(abs(u), abs(v)), np.sqrt(u * u + v * v)
        )
        steepness = spread(radius[leaf] * aspect[leaf] / edge[leaf])
        opacity = np.clip((1 - distance) * steepness + 0.5, 0, 1)[:, None]
        shade = (spread(shading[leaf]) * np.clip(u, -1, 1))[:, None]
        canvas = canvas + opacity * (spread(colour[leaf]) + shade - canvas)
    return np.clip(canvas, 0, 1)
