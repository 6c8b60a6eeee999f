"""An invented world of thousands of kinds of things, and pictures of them, from a seed alone.

A kind is a program: up to three parts, each an outline and a texture, or a texture without end.
Pictures of one kind differ in pose, background, light, what stands before it, and in style: as a
photograph, a flat cartoon or a line drawing. What a network must learn to tell kinds apart is what
it needs elsewhere, outlines, surfaces and their arrangement; the more kinds of programs, the
better (M. Baradad et al., "Procedural Image Programs for Representation Learning", NeurIPS 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.pretraining.shapes import Field, Outline, draw_outline
from fedtl.pretraining.textures import Texture, coloured, draw_palette, draw_texture

_STUFF = 0.25
_LINE_DRAWING, _CARTOON = 0.2, 0.2
_PLAIN_BACKGROUND = 0.3
_OCCLUDED = 0.25
_BACKGROUNDS_OF_A_KIND = 4


@dataclass(frozen=True)
class Part:
    """A textured shape and where it sits in its thing, in units of the thing's radius."""

    outline: Outline
    texture: Texture
    x: np.float32
    y: np.float32
    size: np.float32
    cosine: np.float32
    sine: np.float32

    def coordinates(self, u: Field, v: Field) -> tuple[Field, Field]:
        """Return the part's own coordinates."""
        across, down = (u - self.x) / self.size, (v - self.y) / self.size
        return self.cosine * across + self.sine * down, self.cosine * down - self.sine * across


@dataclass(frozen=True)
class Kind:
    """What the pictures of a kind have in common.

    Attributes:
        parts: From back to front; none for stuff, which is all texture.
        stuff: The texture of stuff.
        upright: Whether the thing is seen the right way up.
    """

    parts: tuple[Part, ...]
    stuff: Texture
    upright: bool


def draw_kind(rng: np.random.Generator) -> Kind:
    """Return a random kind."""
    stuff, upright = draw_texture(rng), bool(rng.random() < 0.5)
    if rng.random() < _STUFF:
        return Kind((), stuff, upright)
    parts = []
    for number in range(int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))):
        x, y = rng.uniform(-0.6, 0.6, 2) if number else (0.0, 0.0)
        size = rng.uniform(0.3, 0.75) if number else 1.0
        turn = rng.uniform(0, 2 * np.pi)
        placed = np.array([x, y, size, np.cos(turn), np.sin(turn)], dtype=np.float32)
        parts.append(Part(draw_outline(rng), draw_texture(rng), *placed))
    return Kind(tuple(parts), stuff, upright)


def pictures_of_kind(seed: int, kind: int, count: int, side: int) -> NDArray[np.uint8]:
    """Return pictures of one kind.

    Args:
        seed: Of the world.
        kind: Number of the kind.
        count: Pictures.
        side: Width and height in pixels.

    Returns:
        Shape ``(count, side, side, 3)``.
    """
    thing = draw_kind(generator(seed, "kind", kind))
    rng = generator(seed, "pictures of kind", kind)
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    x, y = np.broadcast_arrays(axis[None, None, :], axis[None, :, None])
    pixel = np.float32(2 / side)
    if thing.parts:
        canvas = _backgrounds(rng, count, x, y)
        u, v, scale = _posed(rng, count, x, y, reach=0.35, size=(0.4, 0.85), free=not thing.upright)
        style = rng.random(count)
        line, flat = style < _LINE_DRAWING, style >= 1 - _CARTOON
        canvas = np.where(_column(line), _paper(rng, count), canvas)
        for part in thing.parts:
            canvas = _painted(rng, canvas, part, (u, v), pixel / (scale * part.size), line, flat)
    else:
        u, v, _ = _posed(rng, count, x, y, reach=2.0, size=(0.5, 1.4), free=not thing.upright)
        canvas = thing.stuff(u, v)
    canvas = _occluded(rng, canvas, x, y, pixel)
    light = rng.normal(0, 0.15, (2, count, 1, 1, 1)).astype(np.float32)
    canvas = canvas * (1 + light[0] * x[:, None] + light[1] * y[:, None])
    grain = rng.uniform(0, 0.04, (count, 1, 1, 1)).astype(np.float32)
    canvas += grain * rng.standard_normal(canvas.shape, dtype=np.float32)
    levels = np.clip(canvas * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def _posed(
    rng: np.random.Generator,
    count: int,
    x: Field,
    y: Field,
    *,
    reach: float,
    size: tuple[float, float],
    free: bool,
) -> tuple[Field, Field, Field]:
    """Return a thing's coordinates in each picture, ``(n, h, w)``, and its scale, ``(n, 1, 1)``."""
    turn = rng.uniform(-np.pi, np.pi, count) if free else rng.normal(0, 0.25, count)
    low, high = np.log(size)
    scale = np.exp(rng.uniform(low, high, count))
    skew, stretch = rng.normal(0, 0.12, count), np.exp(rng.normal(0, 0.12, count))
    mirror = rng.choice([-1.0, 1.0], count)
    left, top = rng.uniform(-reach, reach, (2, count))

    def spread(values: NDArray[np.float64]) -> Field:
        return values.astype(np.float32)[:, None, None]

    across, down = (x - spread(left)) / spread(scale), (y - spread(top)) / spread(scale)
    u: Field = spread(np.cos(turn)) * across + spread(np.sin(turn)) * down
    v: Field = spread(np.cos(turn)) * down - spread(np.sin(turn)) * across
    u, v = (u + spread(skew) * v) * spread(mirror * stretch), v / spread(stretch)
    return u, v, spread(scale)


def _backgrounds(rng: np.random.Generator, count: int, x: Field, y: Field) -> Field:
    """Return a plain or textured background per picture, shape ``(n, 3, h, w)``."""
    blocks = []
    for part in np.array_split(np.arange(count), min(count, _BACKGROUNDS_OF_A_KIND)):
        texture = draw_texture(rng)
        u, v, _ = _posed(rng, len(part), x, y, reach=2.0, size=(0.5, 1.6), free=True)
        blocks.append(texture(u, v))
    canvas: Field = np.concatenate(blocks)
    plain = rng.random(count) < _PLAIN_BACKGROUND
    return np.where(_column(plain), canvas.mean(axis=(2, 3), keepdims=True), canvas)


def _paper(rng: np.random.Generator, count: int) -> Field:
    """Return light, nearly grey backgrounds, shape ``(n, 3, 1, 1)``."""
    lightness = rng.uniform(0.75, 1.0, (count, 1)) + rng.normal(0, 0.02, (count, 3))
    return lightness.astype(np.float32)[:, :, None, None]


def _painted(
    rng: np.random.Generator,
    canvas: Field,
    part: Part,
    thing: tuple[Field, Field],
    pixel: Field,
    line: NDArray[np.bool_],
    flat: NDArray[np.bool_],
) -> Field:
    """Return the canvas with a part over it, each picture in its style.

    Args:
        rng: Source of line widths and inks.
        canvas: Shape ``(n, 3, h, w)``.
        part: The part.
        thing: The thing's coordinates, each of shape ``(n, h, w)``.
        pixel: Width of a pixel in the part's units, shape ``(n, 1, 1)``.
        line: Which pictures are line drawings, shape ``(n,)``.
        flat: Which pictures are cartoons, shape ``(n,)``.
    """
    count = len(canvas)
    u, v = part.coordinates(*thing)
    field = part.outline(u, v) / pixel
    inside = np.clip(field + np.float32(0.5), 0, 1)[:, None]
    width = rng.uniform(0.8, 2.2, (count, 1, 1)).astype(np.float32)
    border = np.clip(width - np.abs(field) + np.float32(0.5), 0, 1)[:, None]
    surface = part.texture(u, v)
    cover = np.clip(surface.mean(axis=(2, 3), keepdims=True) * 1.1, 0, 1)
    surface = np.where(_column(flat), cover, surface)
    # A line drawing hides what is behind the part, and hints at its texture here and there.
    hatch = rng.choice([0.0, 0.35], (count, 1, 1, 1)).astype(np.float32)
    grey = surface.mean(axis=1, keepdims=True)
    surface = np.where(_column(line), 1 - hatch * (1 - grey), surface)
    canvas = canvas + inside * (surface - canvas)
    outlined = line | (flat & (rng.random(count) < 0.6))
    ink = rng.uniform(0, 0.35, (count, 3)).astype(np.float32)[:, :, None, None]
    painted: Field = canvas + np.where(_column(outlined), border, 0) * (ink - canvas)
    return painted


def _occluded(
    rng: np.random.Generator, canvas: Field, x: Field, y: Field, pixel: np.float32
) -> Field:
    """Return the canvas, some pictures with a piece of another thing at their border."""
    hidden = np.flatnonzero(rng.random(len(canvas)) < _OCCLUDED)
    outline, palette = draw_outline(rng), draw_palette(rng)
    if not len(hidden):
        return canvas
    angle = rng.uniform(0, 2 * np.pi, len(hidden))
    size = rng.uniform(0.25, 0.6, len(hidden)).astype(np.float32)[:, None, None]
    left = (1.1 * np.cos(angle)).astype(np.float32)[:, None, None]
    top = (1.1 * np.sin(angle)).astype(np.float32)[:, None, None]
    u, v = (x - left) / size, (y - top) / size
    inside = np.clip(outline(u, v) * size / pixel + np.float32(0.5), 0, 1)[:, None]
    colour = coloured(np.clip(u * np.float32(0.5) + np.float32(0.5), 0, 1), palette)
    canvas[hidden] += inside * (colour - canvas[hidden])
    return canvas


def _column(choice: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return one choice per picture, shape ``(n, 1, 1, 1)``."""
    return choice[:, None, None, None]
