"""From anatomy to the amount of each dye at each point of the smear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.anatomy import (
    Blobs,
    cell_body,
    draw_traits,
    nucleus,
    red_cells,
    scattered,
)
from fedtl.data.hospitals.draws import Draws, Float

AZURE, EOSIN, BLUE = range(3)

# Multiplications in one product: as few as BLAS makes on the calling thread. Its own threads hang
# where another thread starts a process meanwhile, as Ray does.
_LARGEST_PRODUCT = 2**18


def dye_amounts(draws: Draws, labels: NDArray[np.int64], magnification: Float, size: int) -> Float:
    """Return how much azure, eosin and blue dye lies at each point, shape ``(n, 3, size, size)``.

    Args:
        draws: Random numbers of the batch.
        labels: Kind of white cell in each picture, an index into ``CELL_TYPES``; shape ``(n,)``.
        magnification: Scale of each picture's cells, 1 for the nominal one; shape ``(n, 1)``.
        size: Width and height in pixels.
    """
    grid = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    traits = draw_traits(draws, labels)
    traits["radius"] = traits["radius"] * magnification
    radius = traits["radius"]
    x, y = draws.uniform(0.34, 0.66, 1), draws.uniform(0.34, 0.66, 1)

    body_field = _field(cell_body(draws, traits, x, y), grid)
    body = _inside(body_field, 14 * radius)
    lobes = nucleus(draws, traits, x, y)
    core = _inside(_field(lobes, grid), 14 * radius) * body
    coarse = _smooth_noise(draws.normal(15, 15), size)
    fine = _smooth_noise(draws.normal(31, 31), size)
    plasm = body - core

    granule_radius = traits["granule_radius"] * magnification
    granules = scattered(draws, x, y, 0.9 * radius, granule_radius, traits["granules"], 48)
    grains = _inside(_field(granules, grid), np.float32(2.0))
    grains *= plasm + core * _column(traits["granules_cover"])

    vacuoles = scattered(draws, x, y, 0.95 * radius, 0.11 * radius, traits["vacuoles"], 6)
    holes = np.minimum(_field(vacuoles, grid), 1)
    nucleoli = scattered(draws, x, y, 0.5 * radius, 0.14 * radius, traits["nucleoli"], 4)
    pale = np.minimum(_field(nucleoli, grid), 1)

    chromatin = 1 + _column(traits["clumps"]) * coarse + _column(traits["grain"]) * fine
    chromatin = np.maximum(chromatin - 0.5 * pale, 0.15)
    plasm *= (1 - 0.85 * holes) * (1 + _column(traits["dust"]) * fine)
    plasm = np.maximum(plasm, 0)

    dyes = np.empty((len(labels), 3, size, size), dtype=np.float32)
    dyes[:, AZURE] = core * chromatin * _column(traits["density"])
    dyes[:, AZURE] += grains * _column(traits["granule_azure"])
    dyes[:, AZURE] += _platelets(draws, radius, x, y, grid, fine) * (1 - body)
    dyes[:, EOSIN] = plasm * _column(traits["cytoplasm_eosin"])
    dyes[:, EOSIN] += grains * _column(traits["granule_eosin"])
    dyes[:, EOSIN] += _red(draws, red_cells(draws, traits, x, y), grid) * (1 - body)
    dyes[:, BLUE] = plasm * _column(traits["cytoplasm_blue"])
    dyes[:, BLUE] += core * 0.15 * pale
    return dyes


def _column(values: Float) -> Float:
    """Return one number per picture, shape ``(n, 1)``, in a shape that meets ``(n, h, w)``."""
    return values[:, :, None]


def _profiles(blobs: Blobs, grid: Float) -> tuple[Float, Float]:
    """Return the two one-dimensional factors of each body, shape ``(n, count, size)`` each.

    A body is a Gaussian, so it is the product of a function of x and a function of y: drawing one
    costs its edge, not its area.
    """
    scale = np.float32(-np.log(2)) / blobs.radius[:, :, None] ** 2
    across = np.exp(scale * (grid - blobs.x[:, :, None]) ** 2)
    down = np.exp(scale * (grid - blobs.y[:, :, None]) ** 2) * blobs.amount[:, :, None]
    return across, down


def _field(blobs: Blobs, grid: Float) -> Float:
    """Return the sum of the bodies at each point, shape ``(n, size, size)``."""
    field = np.zeros((len(blobs.x), len(grid), len(grid)), dtype=np.float32)
    # Most cells have no granules, most no vacuoles, most no nucleoli.
    present = np.flatnonzero(blobs.amount.any(axis=1))
    across, down = _profiles(blobs.of(present), grid)
    # CPU types add in different orders. In float64 that is lost when the sum is rounded to float32.
    left, right = down.transpose(0, 2, 1).astype(np.float64), across.astype(np.float64)
    rows = max(1, _LARGEST_PRODUCT // (right.shape[1] * len(grid)))
    for top in range(0, len(grid), rows):
        field[present, top : top + rows] = np.matmul(left[:, top : top + rows], right)
    return field


def _inside(field: Float, sharpness: Float | np.float32) -> Float:
    """Return 1 where bodies add up to more than one half and 0 elsewhere, with a soft edge."""
    slope = sharpness[:, :, None] if isinstance(sharpness, np.ndarray) else sharpness
    inside: Float = np.clip((field - np.float32(0.5)) * slope + np.float32(0.5), 0, 1)
    return inside


def _smooth_noise(lattice: Float, size: int) -> Float:
    """Return noise of unit variance at the lattice points, interpolated to ``(n, size, size)``."""
    cells = lattice.shape[1] - 1
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / size)
    left = place.astype(np.int64)
    weight = place - left.astype(np.float32)
    rows = lattice[:, left] * (1 - weight)[:, None] + lattice[:, left + 1] * weight[:, None]
    noise: Float = rows[:, :, left] * (1 - weight) + rows[:, :, left + 1] * weight
    return noise


def _red(draws: Draws, cells: Blobs, grid: Float) -> Float:
    """Return the eosin bound by red cells: discs that are pale in the middle."""
    across, down = _profiles(cells, grid)
    nearest = np.zeros((len(across), len(grid), len(grid)), dtype=np.float32)
    cell = np.empty_like(nearest)
    for k in range(across.shape[1]):
        np.multiply(down[:, k, :, None], across[:, k, None, :], out=cell)
        np.maximum(nearest, cell, out=nearest)
    amount = draws.uniform(0.35, 0.6, 1)
    pallor = draws.uniform(0.15, 0.75, 1)
    hollow = np.clip((nearest - np.float32(0.7)) * np.float32(3.6), 0, 1)
    disc = _inside(nearest, np.float32(6))
    eosin: Float = disc * (1 - _column(pallor) * hollow) * _column(amount)
    return eosin


def _platelets(
    draws: Draws, radius: Float, x: Float, y: Float, grid: Float, texture: Float
) -> Float:
    """Return the azure bound by platelets and specks of precipitated stain around the cell."""
    number = draws.uniform(-2, 4.9, 1)
    platelets = scattered(draws, x, y, radius + 0.4, draws.uniform(0.02, 0.04, 4), number, 4)
    specks = scattered(
        draws, x, y, radius + 0.4, draws.uniform(0.008, 0.014, 3), draws.uniform(-3, 3.9, 1), 3
    )
    granular = _inside(_field(platelets, grid), np.float32(3)) * (np.float32(0.6) + 0.2 * texture)
    azure: Float = np.maximum(granular, 0) + 1.3 * _inside(_field(specks, grid), np.float32(2))
    return azure
