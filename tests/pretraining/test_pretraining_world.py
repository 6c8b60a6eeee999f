"""The invented world: outlines against geometry, textures in their range, pictures from a seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.pretraining import shapes, textures
from fedtl.pretraining.shapes import draw_outline
from fedtl.pretraining.textures import coloured, draw_palette, draw_texture
from fedtl.pretraining.world import draw_kind, pictures_of_kind

SEEDS = range(60)


def _grid(reach: float, side: int = 81) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axis = np.linspace(-reach, reach, side, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    return u[None], v[None]


class _Scripted:
    """Stands in for a generator: hands out the numbers that a test wants drawn."""

    def __init__(self, *numbers: object) -> None:
        self._numbers = list(numbers)

    def __getattr__(self, _: str) -> object:
        return lambda *args, **options: self._numbers.pop(0)


@pytest.mark.parametrize("corners", [3, 4, 5, 8])
@pytest.mark.parametrize("inner", [1.0, 0.4, 0.7])
def test_polygons_and_stars_are_what_their_corners_enclose(corners: int, inner: float) -> None:
    outline = shapes._polygon(_Scripted(corners, inner, inner))  # type: ignore[arg-type]
    angle = np.arange(2 * corners) * np.pi / corners
    radius = np.where(np.arange(2 * corners) % 2, inner, 1.0)
    if inner == 1.0:
        angle, radius = angle[::2], radius[::2]
    curve = Curve(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1))
    u, v = _grid(1.3)
    field = outline(u, v)
    inside = curve.contains_points(np.stack([u.ravel(), v.ravel()], 1)).reshape(field.shape)
    certain = np.abs(field) > 1e-3
    np.testing.assert_array_equal((field > 0)[certain], inside[certain])


def test_strokes_are_the_points_near_a_segment() -> None:
    points = np.array([[-0.8, -0.5], [0.1, 0.7], [0.6, -0.2]])
    outline = shapes._strokes(_Scripted(2, points, 0.1, 0.15))  # type: ignore[arg-type]
    u, v = _grid(1.2, 41)
    share = np.linspace(0, 1, 2001)[:, None]
    on_line = np.concatenate([(1 - share) * a + share * b for a, b in pairwise(points)])
    here = np.stack([u.ravel(), v.ravel()], 1).astype(np.float64)
    distance = np.array([np.hypot(*(on_line - point).T).min() for point in here])
    np.testing.assert_allclose(outline(u, v).ravel(), 0.15 - distance, atol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_outline_is_something_bounded(seed: int) -> None:
    outline = draw_outline(generator(seed, "outline"))
    u, v = _grid(2.5, 201)
    field = outline(u, v)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
    assert (field > 0).any()
    assert (field[np.maximum(abs(u), abs(v)) > 2.2] <= 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_texture_keeps_to_its_palette(seed: int) -> None:
    texture = draw_texture(generator(seed, "texture"))
    u, v = _grid(3.0)
    shade = texture.pattern(u, v)
    assert shade.dtype == np.float32
    assert shade.min() >= 0
    assert shade.max() <= 1
    colours = texture(u, v)
    assert colours.shape == (1, 3, 81, 81)
    low, high = texture.palette.min(0), texture.palette.max(0)
    assert (colours.min((0, 2, 3)) >= low - 1e-6).all()
    assert (colours.max((0, 2, 3)) <= high + 1e-6).all()


def test_colours_are_interpolated_along_the_palette() -> None:
    palette = draw_palette(generator(3, "palette"))
    shade = generator(0, "shades").random((2, 5, 7), dtype=np.float32)
    shade[0, 0, :2] = 0, 1
    stops = np.linspace(0, 1, len(palette))
    for channel in range(3):
        expected = np.interp(shade, stops, palette[:, channel])
        np.testing.assert_allclose(coloured(shade, palette)[:, channel], expected, atol=1e-5)


def test_noise_tiles_repeat_and_are_continuous() -> None:
    pattern = textures._tiled(
        generator(0, "tile").random((64, 64), dtype=np.float32), np.float32(16)
    )
    u, v = _grid(0.9)
    np.testing.assert_allclose(pattern(u + 4, v - 8), pattern(u, v), atol=1e-4)
    np.testing.assert_allclose(pattern(u + np.float32(1e-4), v), pattern(u, v), atol=5e-3)


def test_pictures_come_from_the_seed_and_kinds_differ() -> None:
    first = pictures_of_kind(0, 3, 6, 48)
    assert first.shape == (6, 48, 48, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(pictures_of_kind(0, 3, 6, 48), first)
    assert (pictures_of_kind(1, 3, 6, 48) != first).any()
    assert (pictures_of_kind(0, 4, 6, 48) != first).any()
    assert len({picture.tobytes() for picture in first}) == 6


def test_pictures_of_stuff_of_one_kind_are_alike_in_colour() -> None:
    """Nearest mean colour finds the kind far more often than chance; light and noise vary it."""
    kinds = [k for k in range(200) if not draw_kind(generator(0, "kind", k)).parts][:30]
    colours = np.stack([pictures_of_kind(0, k, 6, 32).mean((1, 2)) for k in kinds])
    centres = colours[:, :3].mean(1)
    distance = np.linalg.norm(colours[:, 3:, None] - centres, axis=3)
    found = distance.argmin(2) == np.arange(len(kinds))[:, None]
    assert found.mean() > 10 / len(kinds)


def test_a_fair_share_of_kinds_is_stuff_and_of_things_upright() -> None:
    kinds = [draw_kind(generator(0, "kind", k)) for k in range(400)]
    assert 0.18 < np.mean([not kind.parts for kind in kinds]) < 0.32
    assert 0.42 < np.mean([kind.upright for kind in kinds]) < 0.58
    assert {len(kind.parts) for kind in kinds} == {0, 1, 2, 3}
