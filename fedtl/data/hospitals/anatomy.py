"""Where the bodies of a cell lie: outline, nucleus, granules, and the red cells around it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.cell_types import CELL_TYPES, MAX_LOBES, CellType
from fedtl.data.hospitals.draws import Draws, Float

TRAITS = tuple(field.name for field in fields(CellType) if field.name != "prevalence")
_LIMITS = {
    trait: np.array([getattr(cell, trait) for cell in CELL_TYPES.values()], dtype=np.float32)
    for trait in TRAITS
}


@dataclass(frozen=True)
class Blobs:
    """Round bodies of a batch of pictures: ``amount * 2**-(distance / radius)**2`` each.

    Attributes:
        x: Centres from the left edge, shape ``(n, count)``.
        y: Centres from the top edge, shape ``(n, count)``.
        radius: Distance at which a body has faded to one half, shape ``(n, count)``.
        amount: Height at the centre, 0 for a body that is not there, shape ``(n, count)``.
    """

    x: Float
    y: Float
    radius: Float
    amount: Float

    def of(self, pictures: NDArray[np.int64]) -> Blobs:
        """Return the bodies of some of the pictures."""
        return Blobs(*(getattr(self, field.name)[pictures] for field in fields(self)))


def draw_traits(draws: Draws, labels: NDArray[np.int64]) -> dict[str, Float]:
    """Return every trait in ``TRAITS`` of every picture's white cell, each of shape ``(n, 1)``."""
    return {
        trait: draws.uniform(limits[labels, :1], limits[labels, 1:], 1)
        for trait, limits in _LIMITS.items()
    }


def nucleus(draws: Draws, traits: dict[str, Float], x: Float, y: Float) -> Blobs:
    """Return the lobes and the bridges of the nucleus of the cell centred at ``x``, ``y``."""
    lobes = np.floor(traits["lobes"])
    steps = 2 * MAX_LOBES - 1
    # Even positions are lobes, odd ones the bridges between them.
    position = np.arange(steps, dtype=np.float32)
    is_lobe = position % 2 == 0
    last = np.maximum(2 * (lobes - 1), 1)
    arc = np.radians(traits["arc"])
    turn = draws.uniform(0, 2 * np.pi, 1)
    angle = turn + arc * (position / last - 0.5) * (lobes > 1)
    jitter = traits["lobe_jitter"]
    distance = traits["arc_radius"] + jitter * draws.uniform(-1, 1, steps)
    # Half-way back along the arc's axis the nucleus lies in the middle of its cell.
    centroid = 0.7 * traits["arc_radius"] * np.sinc(arc / (2 * np.pi)) * (lobes > 1)
    size = np.where(is_lobe, traits["lobe_radius"], traits["bridge_radius"])
    size = size * draws.uniform(0.9, 1.1, steps)
    radius = traits["radius"]
    return Blobs(
        x=x + radius * (distance * np.cos(angle) - centroid * np.cos(turn)),
        y=y + radius * (distance * np.sin(angle) - centroid * np.sin(turn)),
        radius=radius * size,
        amount=(position < 2 * lobes - 1).astype(np.float32),
    )


def cell_body(draws: Draws, traits: dict[str, Float], x: Float, y: Float) -> Blobs:
    """Return the cell's outline: one large body and five bulges."""
    bulges = 5
    radius = traits["radius"]
    angle = draws.uniform(0, 2 * np.pi, bulges)
    reach = radius * draws.uniform(0.6, 0.95, bulges)
    bulge_radius = radius * draws.uniform(0.25, 0.5, bulges)
    bulge_amount = traits["roughness"] * draws.uniform(0.5, 2.0, bulges)
    return Blobs(
        x=np.concatenate([x, x + reach * np.cos(angle)], axis=1),
        y=np.concatenate([y, y + reach * np.sin(angle)], axis=1),
        radius=np.concatenate([radius, bulge_radius], axis=1),
        amount=np.concatenate([np.ones_like(radius), bulge_amount], axis=1),
    )


def scattered(
    draws: Draws, x: Float, y: Float, within: Float, radius: Float, number: Float, slots: int
) -> Blobs:
    """Return ``number`` small bodies spread evenly over a disc.

    Args:
        draws: Random numbers of the batch.
        x: Disc centres, shape ``(n, 1)``.
        y: Disc centres, shape ``(n, 1)``.
        within: Disc radii, shape ``(n, 1)``.
        radius: Radii of the bodies, shape ``(n, 1)`` or ``(n, slots)``.
        number: How many there are, rounded down, shape ``(n, 1)``.
        slots: The largest ``number``.
    """
    angle = draws.uniform(0, 2 * np.pi, slots)
    distance = within * np.sqrt(draws.uniform(0, 1, slots))
    return Blobs(
        x=x + distance * np.cos(angle),
        y=y + distance * np.sin(angle),
        radius=np.broadcast_to(radius, angle.shape) * draws.uniform(0.8, 1.2, slots),
        amount=(np.arange(slots) < np.floor(number)).astype(np.float32),
    )


def red_cells(draws: Draws, traits: dict[str, Float], x: Float, y: Float) -> Blobs:
    """Return the red cells: a ring that touches the white cell, and a farther one."""
    near, far = 6, 8
    crowding = draws.uniform(0.25, 1.0, 1)
    radius = draws.uniform(0.125, 0.165, 1) * draws.uniform(0.88, 1.12, near + far)
    spread = np.concatenate(
        [
            (np.arange(count, dtype=np.float32) + draws.uniform(-0.35, 0.35, count)) / count
            for count in (near, far)
        ],
        axis=1,
    )
    angle = 2 * np.pi * (spread + draws.uniform(0, 1, 1))
    touching = traits["radius"] + radius
    gap = np.concatenate([draws.uniform(-0.02, 0.10, near), draws.uniform(0.24, 0.38, far)], axis=1)
    distance = touching + gap
    return Blobs(
        x=x + distance * np.cos(angle),
        y=y + distance * np.sin(angle),
        radius=radius,
        amount=(draws.uniform(0, 1, near + far) < crowding).astype(np.float32),
    )
