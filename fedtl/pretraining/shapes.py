"""Outlines of invented objects: fields that are positive inside a shape and fall by one a unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
# Takes coordinates u and v in units of the shape's radius, any shape, and returns the field there.
Outline = Callable[[Field, Field], Field]

# Beyond this distance a point is outside of any shape, and powers of it would overflow.
_FAR = 9.0
_COMBINED = 0.3


def draw_outline(rng: np.random.Generator) -> Outline:
    """Return a random outline, about one unit in radius: one shape, or two joined or cut out."""
    first = _simple(rng)
    if rng.random() >= _COMBINED:
        return first
    second, size = _simple(rng), np.float32(rng.uniform(0.35, 0.8))
    x, y = rng.uniform(-0.7, 0.7, 2).astype(np.float32)
    hole = rng.random() < 0.5

    def combined(u: Field, v: Field) -> Field:
        other = second((u - x) / size, (v - y) / size) * size
        field = first(u, v)
        both: Field = np.minimum(field, -other) if hole else np.maximum(field, other)
        return both

    return combined


def _simple(rng: np.random.Generator) -> Outline:
    kinds = (_blob, _polygon, _ring, _strokes, _balls, _box)
    return kinds[rng.integers(len(kinds))](rng)


def _blob(rng: np.random.Generator) -> Outline:
    """A closed curve whose radius is a random Fourier series of the angle."""
    orders = np.arange(1, rng.integers(3, 9))
    size = rng.normal(size=len(orders)) * rng.uniform(0.1, 0.5) / orders
    phase = rng.uniform(0, 2 * np.pi, len(orders))

    def blob(u: Field, v: Field) -> Field:
        angle = np.arctan2(v, u)
        radius = np.full_like(u, 0.8)
        for order, amount, shift in zip(orders, size, phase, strict=True):
            radius += np.float32(amount) * np.cos(np.float32(order) * angle + np.float32(shift))
        return np.maximum(radius, np.float32(0.15)) - np.hypot(u, v)

    return blob


def _polygon(rng: np.random.Generator) -> Outline:
    """A regular polygon or star."""
    corners, inner = int(rng.integers(3, 9)), np.float32(rng.choice([1.0, rng.uniform(0.3, 0.8)]))
    half = np.float32(np.pi / corners)
    # The edge from the corner at angle 0 to the inner corner (or mid-edge) at angle `half`.
    end_x, end_y = inner * np.cos(half), inner * np.sin(half)
    if inner == 1:
        end_x, end_y = np.cos(half) ** 2, np.cos(half) * np.sin(half)
    length = np.hypot(end_x - 1, end_y)
    normal_x, normal_y = np.float32(end_y / length), np.float32((1 - end_x) / length)

    def polygon(u: Field, v: Field) -> Field:
        angle = np.abs(np.mod(np.arctan2(v, u) + half, 2 * half) - half)
        radius = np.hypot(u, v)
        along, across = radius * np.cos(angle), radius * np.sin(angle)
        return np.asarray((1 - along) * normal_x - across * normal_y, dtype=np.float32)

    return polygon


def _ring(rng: np.random.Generator) -> Outline:
    """A ring, or an arc of one."""
    width = np.float32(rng.uniform(0.08, 0.35))
    gap = np.float32(rng.choice([-2.0, rng.uniform(-0.6, 0.8)]))

    def ring(u: Field, v: Field) -> Field:
        field: Field = np.minimum(width - np.abs(np.hypot(u, v) - (1 - width)), v - gap)
        return field

    return ring


def _strokes(rng: np.random.Generator) -> Outline:
    """Joined line segments, as in a letter or a stick figure."""
    count = int(rng.integers(2, 6))
    points = rng.uniform(-0.9, 0.9, (count + 1, 2)).astype(np.float32)
    chained = rng.random() < 0.5
    starts = points[:-1] if chained else np.broadcast_to(points[:1], (count, 2))
    ends, width = points[1:], np.float32(rng.uniform(0.07, 0.22))

    def strokes(u: Field, v: Field) -> Field:
        nearest = np.full_like(u, np.inf)
        for (x0, y0), (x1, y1) in zip(starts, ends, strict=True):
            dx, dy = x1 - x0, y1 - y0
            along = ((u - x0) * dx + (v - y0) * dy) / np.float32(dx * dx + dy * dy + 1e-6)
            along = np.clip(along, 0, 1)
            nearest = np.minimum(nearest, np.hypot(u - x0 - along * dx, v - y0 - along * dy))
        return width - nearest

    return strokes


def _balls(rng: np.random.Generator) -> Outline:
    """Circles that melt into each other."""
    count = int(rng.integers(2, 7))
    centres = rng.uniform(-0.65, 0.65, (count, 2)).astype(np.float32)
    radii = rng.uniform(0.15, 0.5, count).astype(np.float32)
    sharpness = np.float32(rng.uniform(6, 20))

    def balls(u: Field, v: Field) -> Field:
        total = np.zeros_like(u)
        for (x, y), radius in zip(centres, radii, strict=True):
            total += np.exp(sharpness * np.clip(radius - np.hypot(u - x, v - y), -4, 4))
        field: Field = np.log(total + np.float32(1e-30)) / sharpness
        return field

    return balls


def _box(rng: np.random.Generator) -> Outline:
    """A superellipse: from a diamond through an ellipse to a box."""
    power = np.float32(np.exp(rng.uniform(np.log(0.7), np.log(8))))
    aspect = np.float32(rng.uniform(0.25, 1))

    def box(u: Field, v: Field) -> Field:
        across = np.minimum(np.abs(u), np.float32(_FAR)) ** power
        down = np.minimum(np.abs(v) / aspect, np.float32(_FAR)) ** power
        return (1 - (across + down) ** (1 / power)) * aspect

    return box
