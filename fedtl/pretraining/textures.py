"""Surfaces of invented objects: scalar patterns of the plane, coloured by a palette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedtl.pretraining.shapes import Field

# Takes coordinates u and v, any shape, and returns a number from 0 to 1 there.
Pattern = Callable[[Field, Field], Field]

_TILE = 64
_JULIA_STEPS = 20


@dataclass(frozen=True)
class Texture:
    """A pattern and its colours.

    Attributes:
        pattern: From coordinates to a number in [0, 1].
        palette: Colours from the number 0 to the number 1, shape ``(k, 3)``, on the scale 0 to 1.
    """

    pattern: Pattern
    palette: Field

    def __call__(self, u: Field, v: Field) -> Field:
        """Return colours at coordinates of shape ``(n, h, w)``, shape ``(n, 3, h, w)``."""
        return coloured(self.pattern(u, v), self.palette)


def coloured(shade: Field, palette: Field) -> Field:
    """Return the palette's colours for numbers in [0, 1] of shape ``(n, h, w)``."""
    steps = len(palette) - 1
    place = shade * np.float32(steps)
    low = np.minimum(place.astype(np.int64), steps - 1)
    share = (place - low.astype(np.float32))[..., None]
    colours: Field = palette[low] * (1 - share) + palette[low + 1] * share
    return np.moveaxis(colours, 3, 1)


def draw_texture(rng: np.random.Generator) -> Texture:
    """Return a random texture."""
    kinds = (_gradient, _grating, _weave, _circles, _noise, _noise, _spots, _mosaic, _julia, _net)
    return Texture(kinds[rng.integers(len(kinds))](rng), draw_palette(rng))


def draw_palette(rng: np.random.Generator) -> Field:
    """Return two to four colours, near each other in hue or not, shape ``(k, 3)``."""
    count = int(rng.integers(2, 5))
    base = rng.uniform(0.1, 0.9) + rng.normal(0, 0.13, 3)
    lightness = rng.normal(0, rng.uniform(0.08, 0.35), (count, 1))
    hue = rng.normal(0, rng.choice([0.03, 0.08, 0.18]), (count, 3))
    return np.clip(base + lightness + hue, 0, 1).astype(np.float32)


def _turned(rng: np.random.Generator) -> Pattern:
    """Return the coordinate along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return lambda u, v: cosine * u + sine * v


def _wave(rng: np.random.Generator) -> Callable[[Field], Field]:
    """Return a periodic profile from 0 to 1: from a smooth wave to sharp stripes."""
    sharpness, duty = np.float32(np.exp(rng.uniform(0, 2.5))), np.float32(rng.uniform(-0.6, 0.6))
    return lambda phase: np.clip((np.sin(phase) - duty) * sharpness * 0.5 + 0.5, 0, 1)


def _gradient(rng: np.random.Generator) -> Pattern:
    along, offset = _turned(rng), np.float32(rng.uniform(-0.4, 0.4))
    return lambda u, v: np.clip(along(u, v) * np.float32(0.5) + np.float32(0.5) + offset, 0, 1)


def _grating(rng: np.random.Generator) -> Pattern:
    """Stripes, straight or bent."""
    along, across, wave = _turned(rng), _turned(rng), _wave(rng)
    frequency = np.float32(np.exp(rng.uniform(np.log(3), np.log(28))))
    bend = np.float32(rng.choice([0.0, rng.uniform(0, 3)]))
    ripple = np.float32(rng.uniform(1, 6))
    return lambda u, v: wave(frequency * along(u, v) + bend * np.sin(ripple * across(u, v)))


def _weave(rng: np.random.Generator) -> Pattern:
    """Two gratings crossed: checks, bricks, cloth."""
    first, second = _grating(rng), _grating(rng)
    how = rng.integers(3)
    if how == 0:
        return lambda u, v: first(u, v) * second(u, v)
    if how == 1:
        return lambda u, v: np.abs(first(u, v) - second(u, v))
    return lambda u, v: (first(u, v) + second(u, v)) * np.float32(0.5)


def _circles(rng: np.random.Generator) -> Pattern:
    """Rings about a point, spirals and rays."""
    x, y = rng.uniform(-0.6, 0.6, 2).astype(np.float32)
    wave, arms = _wave(rng), np.float32(rng.integers(0, 9))
    frequency = np.float32(rng.choice([0.0, np.exp(rng.uniform(np.log(4), np.log(25)))]))
    if arms == 0 and frequency == 0:
        arms = np.float32(5)

    def circles(u: Field, v: Field) -> Field:
        across, down = u - x, v - y
        return wave(frequency * np.hypot(across, down) + arms * np.arctan2(down, across))

    return circles


def _noise(rng: np.random.Generator) -> Pattern:
    """Clouds of a power law, or grains of one size, perhaps cut at a level or elongated."""
    frequency = np.fft.fftfreq(_TILE) * _TILE
    stretch = np.exp(rng.uniform(-1, 1)) if rng.random() < 0.4 else 1.0
    radius = np.hypot(frequency[:, None] * stretch, frequency[None, :] / stretch)
    if rng.random() < 0.6:
        amplitude = np.maximum(radius, 1) ** -rng.uniform(0.6, 2.4)
    else:
        centre = np.exp(rng.uniform(np.log(2), np.log(14)))
        amplitude = np.exp(-0.5 * ((radius - centre) / (0.25 * centre)) ** 2)
    amplitude[0, 0] = 0
    spectrum = amplitude * np.exp(2j * np.pi * rng.random((_TILE, _TILE)))
    tile = np.fft.ifft2(spectrum).real
    contrast = np.exp(rng.uniform(np.log(0.2), np.log(4)))
    tile = np.clip(0.5 + contrast * tile / tile.std() + rng.normal(0, 0.1), 0, 1)
    if rng.random() < 0.2:
        tile = 1 - np.abs(2 * tile - 1)
    return _tiled(tile.astype(np.float32), np.float32(rng.uniform(8, 32)))


def _tiled(tile: Field, density: np.float32) -> Pattern:
    """Return a periodic picture, read with linear interpolation, ``density`` samples a unit."""
    side = len(tile)
    flat = tile.ravel()

    def tiled(u: Field, v: Field) -> Field:
        x, y = u * density, v * density
        left, top = np.floor(x), np.floor(y)
        across, down = x - left, y - top
        column, row = left.astype(np.int64) % side, top.astype(np.int64) % side
        right, below = (column + 1) % side, (row + 1) % side * side
        row *= side
        upper = flat[row + column] * (1 - across) + flat[row + right] * across
        lower = flat[below + column] * (1 - across) + flat[below + right] * across
        mixed: Field = upper * (1 - down) + lower * down
        return mixed

    return tiled


def _spots(rng: np.random.Generator) -> Pattern:
    """Dots on a jittered grid, of random sizes."""
    distance, _ = _cells(rng)
    size, soft = np.float32(rng.uniform(0.15, 0.5)), np.float32(np.exp(rng.uniform(0, 2.5)))
    return lambda u, v: np.clip((size - distance(u, v)) * soft * 3 + np.float32(0.5), 0, 1)


def _mosaic(rng: np.random.Generator) -> Pattern:
    """The Voronoi cells of a jittered grid: each of its own shade, or their joints."""
    distance, shade = _cells(rng)
    if rng.random() < 0.5:
        return shade
    steep = np.float32(rng.uniform(0.8, 1.6))
    return lambda u, v: np.clip(distance(u, v) * steep, 0, 1)


def _cells(rng: np.random.Generator) -> tuple[Pattern, Pattern]:
    """Return the distance to the nearest of scattered points, in cells, and that point's shade."""
    density = np.float32(np.exp(rng.uniform(np.log(2), np.log(9))))
    jitter = rng.uniform(0, 1)
    place = (0.5 + jitter * (rng.random((2, _TILE * _TILE)) - 0.5)).astype(np.float32)
    shades = rng.random(_TILE * _TILE).astype(np.float32)

    def nearest(u: Field, v: Field) -> tuple[Field, Field]:
        x, y = u * density, v * density
        column, row = np.floor(x), np.floor(y)
        best, shade = np.full_like(x, np.inf), np.zeros_like(x)
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                cell = (row + down).astype(np.int64) % _TILE * _TILE
                cell += (column + across).astype(np.int64) % _TILE
                dx = column + np.float32(across) + place[0][cell] - x
                dy = row + np.float32(down) + place[1][cell] - y
                squared = dx * dx + dy * dy
                closer = squared < best
                best = np.where(closer, squared, best)
                shade = np.where(closer, shades[cell], shade)
        return np.sqrt(best), shade

    return lambda u, v: nearest(u, v)[0], lambda u, v: nearest(u, v)[1]


def _julia(rng: np.random.Generator) -> Pattern:
    """The escape time of z² + c, smooth between steps."""
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.95)
    c = np.complex64(reach * np.exp(1j * angle))
    zoom, x, y = np.float32(rng.uniform(0.5, 1.4)), *rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    cycles = np.float32(rng.uniform(1, 4))

    def julia(u: Field, v: Field) -> Field:
        z = (zoom * (u - x) + 1j * zoom * (v - y)).astype(np.complex64)
        time = np.zeros_like(u)
        for _ in range(_JULIA_STEPS):
            z = z * z + c
            size = np.abs(z)
            time += np.clip(2 - 0.5 * size, 0, 1)
            np.multiply(z, np.minimum(1, 4 / np.maximum(size, 1e-6)), out=z)
        phase = np.float32(np.pi) * cycles * time / _JULIA_STEPS
        return (np.float32(1) - np.cos(phase)) * np.float32(0.5)

    return julia


def _net(rng: np.random.Generator) -> Pattern:
    """A random network of the coordinates (a compositional pattern-producing network)."""
    width = 6
    first = rng.normal(0, rng.uniform(1.5, 5), (width, 3)).astype(np.float32)
    shifts = rng.uniform(-np.pi, np.pi, width).astype(np.float32)
    second = rng.normal(0, 1.2, (width, width)).astype(np.float32)
    last = rng.normal(0, rng.uniform(0.5, 2.5), width).astype(np.float32)

    def net(u: Field, v: Field) -> Field:
        radius = np.hypot(u, v)
        hidden = [
            np.sin(a * u + b * v + c * radius + s)
            for (a, b, c), s in zip(first, shifts, strict=True)
        ]
        total = np.zeros_like(u)
        for row, weight in zip(second, last, strict=True):
            total += weight * np.tanh(sum(a * h for a, h in zip(row, hidden, strict=True)))
        return np.asarray(1 / (1 + np.exp(-total)), dtype=np.float32)

    return net
