"""What a haematologist tells white cells apart by: nucleus, chromatin, granules, cytoplasm.

Lengths are fractions of the picture's width, except for the nucleus, whose lengths are fractions of
the cell's radius. Every nucleus is a row of lobes along an arc, with a bridge between neighbours:
one lobe makes a round nucleus, five equal lobes with bridges as thick a horseshoe or a kidney,
three to five with thin bridges a segmented nucleus.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_LOBES = 5
Range = tuple[float, float]


@dataclass(frozen=True)
class CellType:
    """Ranges from which one kind of cell draws its appearance; each is uniform in (low, high).

    Attributes:
        prevalence: Relative frequency in the differential count.
        radius: Cell radius.
        roughness: How far the outline departs from a circle.
        lobes: Number of lobes, from 1 to 5 (drawn, then rounded down).
        arc: Angle from the first lobe's centre to the last one's, in degrees.
        arc_radius: Radius of the arc.
        lobe_radius: Radius of a lobe.
        bridge_radius: Radius of the material between two lobes.
        lobe_jitter: How far lobes stray from the arc.
        density: Amount of nuclear stain.
        clumps: Contrast of coarse chromatin.
        grain: Contrast of fine chromatin.
        nucleoli: Number of nucleoli, at most 4 (drawn, then rounded down).
        granules: Number of coarse granules, at most 48 (drawn, then rounded down).
        granule_radius: Radius of a granule.
        granule_eosin: Eosin bound by a granule.
        granule_azure: Azure bound by a granule.
        granules_cover: How far granules lie over the nucleus too: 0 beside it, 1 over it.
        vacuoles: Number of vacuoles, at most 6 (drawn, then rounded down).
        cytoplasm_eosin: Eosin in the cytoplasm.
        cytoplasm_blue: Basophilic (RNA) stain in the cytoplasm.
        dust: Contrast of fine cytoplasmic granulation.
    """

    prevalence: float
    radius: Range
    roughness: Range
    lobes: Range
    arc: Range
    arc_radius: Range
    lobe_radius: Range
    bridge_radius: Range
    lobe_jitter: Range
    density: Range
    clumps: Range
    grain: Range
    nucleoli: Range
    granules: Range
    granule_radius: Range
    granule_eosin: Range
    granule_azure: Range
    granules_cover: Range
    vacuoles: Range
    cytoplasm_eosin: Range
    cytoplasm_blue: Range
    dust: Range


CELL_TYPES: dict[str, CellType] = {
    "band": CellType(
        prevalence=0.12,
        radius=(0.23, 0.31),
        roughness=(0.1, 0.5),
        lobes=(5, 6),
        arc=(185, 265),
        arc_radius=(0.42, 0.54),
        lobe_radius=(0.14, 0.18),
        bridge_radius=(0.14, 0.18),
        lobe_jitter=(0.0, 0.04),
        density=(1.2, 1.7),
        clumps=(0.10, 0.22),
        grain=(0.05, 0.14),
        nucleoli=(0, 1),
        granules=(0, 1),
        granule_radius=(0.015, 0.02),
        granule_eosin=(0, 0),
        granule_azure=(0, 0),
        granules_cover=(0, 0),
        vacuoles=(0, 1.3),
        cytoplasm_eosin=(0.10, 0.28),
        cytoplasm_blue=(0.05, 0.25),
        dust=(0.10, 0.35),
    ),
    "basophil": CellType(
        prevalence=0.10,
        radius=(0.21, 0.29),
        roughness=(0.1, 0.5),
        lobes=(2, 4),
        arc=(110, 200),
        arc_radius=(0.25, 0.40),
        lobe_radius=(0.26, 0.36),
        bridge_radius=(0.14, 0.24),
        lobe_jitter=(0.02, 0.10),
        density=(0.7, 1.1),
        clumps=(0.10, 0.22),
        grain=(0.05, 0.14),
        nucleoli=(0, 1),
        granules=(24, 48.9),
        granule_radius=(0.016, 0.026),
        granule_eosin=(0, 0.2),
        granule_azure=(0.8, 1.3),
        granules_cover=(1, 1),
        vacuoles=(0, 1.3),
        cytoplasm_eosin=(0.08, 0.24),
        cytoplasm_blue=(0.08, 0.30),
        dust=(0.05, 0.25),
    ),
    "blast": CellType(
        prevalence=0.10,
        radius=(0.23, 0.32),
        roughness=(0.1, 0.5),
        lobes=(1, 3),
        arc=(30, 120),
        arc_radius=(0.04, 0.14),
        lobe_radius=(0.62, 0.74),
        bridge_radius=(0.30, 0.40),
        lobe_jitter=(0.0, 0.06),
        density=(0.8, 1.25),
        clumps=(0.0, 0.05),
        grain=(0.05, 0.14),
        nucleoli=(1, 4.4),
        granules=(0, 1),
        granule_radius=(0.015, 0.02),
        granule_eosin=(0, 0),
        granule_azure=(0, 0),
        granules_cover=(0, 0),
        vacuoles=(0, 1.5),
        cytoplasm_eosin=(0.0, 0.12),
        cytoplasm_blue=(0.30, 0.75),
        dust=(0.05, 0.20),
    ),
    "eosinophil": CellType(
        prevalence=0.12,
        radius=(0.23, 0.31),
        roughness=(0.1, 0.5),
        lobes=(2, 3.25),
        arc=(130, 190),
        arc_radius=(0.36, 0.48),
        lobe_radius=(0.27, 0.36),
        bridge_radius=(0.06, 0.12),
        lobe_jitter=(0.02, 0.08),
        density=(1.1, 1.6),
        clumps=(0.10, 0.22),
        grain=(0.05, 0.14),
        nucleoli=(0, 1),
        granules=(34, 48.9),
        granule_radius=(0.014, 0.022),
        granule_eosin=(0.45, 0.95),
        granule_azure=(0, 0.08),
        granules_cover=(0.0, 0.25),
        vacuoles=(0, 1.3),
        cytoplasm_eosin=(0.10, 0.30),
        cytoplasm_blue=(0.05, 0.22),
        dust=(0.05, 0.25),
    ),
    "erythroblast": CellType(
        prevalence=0.12,
        radius=(0.16, 0.25),
        roughness=(0.0, 0.3),
        lobes=(1, 2.2),
        arc=(30, 120),
        arc_radius=(0.02, 0.22),
        lobe_radius=(0.46, 0.60),
        bridge_radius=(0.20, 0.40),
        lobe_jitter=(0.0, 0.03),
        density=(1.5, 2.1),
        clumps=(0.05, 0.28),
        grain=(0.0, 0.08),
        nucleoli=(0, 1),
        granules=(0, 1),
        granule_radius=(0.015, 0.02),
        granule_eosin=(0, 0),
        granule_azure=(0, 0),
        granules_cover=(0, 0),
        vacuoles=(0, 1),
        cytoplasm_eosin=(0.15, 0.50),
        cytoplasm_blue=(0.10, 0.50),
        dust=(0.0, 0.12),
    ),
    "lymphocyte": CellType(
        prevalence=0.16,
        radius=(0.17, 0.27),
        roughness=(0.1, 0.5),
        lobes=(1, 2.5),
        arc=(30, 120),
        arc_radius=(0.02, 0.12),
        lobe_radius=(0.64, 0.78),
        bridge_radius=(0.30, 0.40),
        lobe_jitter=(0.0, 0.04),
        density=(1.2, 1.75),
        clumps=(0.20, 0.36),
        grain=(0.0, 0.08),
        nucleoli=(0, 1),
        granules=(0, 4),
        granule_radius=(0.010, 0.016),
        granule_eosin=(0, 0.1),
        granule_azure=(0.5, 0.9),
        granules_cover=(0, 0),
        vacuoles=(0, 1.2),
        cytoplasm_eosin=(0.0, 0.12),
        cytoplasm_blue=(0.18, 0.60),
        dust=(0.0, 0.15),
    ),
    "monocyte": CellType(
        prevalence=0.13,
        radius=(0.25, 0.34),
        roughness=(0.3, 0.8),
        lobes=(4, 6),
        arc=(95, 175),
        arc_radius=(0.34, 0.46),
        lobe_radius=(0.24, 0.32),
        bridge_radius=(0.24, 0.30),
        lobe_jitter=(0.0, 0.06),
        density=(0.8, 1.3),
        clumps=(0.08, 0.18),
        grain=(0.10, 0.22),
        nucleoli=(0, 1),
        granules=(0, 1),
        granule_radius=(0.015, 0.02),
        granule_eosin=(0, 0),
        granule_azure=(0, 0),
        granules_cover=(0, 0),
        vacuoles=(1, 6.9),
        cytoplasm_eosin=(0.04, 0.16),
        cytoplasm_blue=(0.20, 0.50),
        dust=(0.15, 0.40),
    ),
    "neutrophil": CellType(
        prevalence=0.15,
        radius=(0.22, 0.31),
        roughness=(0.1, 0.5),
        lobes=(3, 6),
        arc=(200, 310),
        arc_radius=(0.38, 0.52),
        lobe_radius=(0.19, 0.27),
        bridge_radius=(0.06, 0.10),
        lobe_jitter=(0.05, 0.16),
        density=(1.2, 1.7),
        clumps=(0.10, 0.22),
        grain=(0.05, 0.14),
        nucleoli=(0, 1),
        granules=(0, 1),
        granule_radius=(0.015, 0.02),
        granule_eosin=(0, 0),
        granule_azure=(0, 0),
        granules_cover=(0, 0),
        vacuoles=(0, 1.3),
        cytoplasm_eosin=(0.10, 0.28),
        cytoplasm_blue=(0.05, 0.25),
        dust=(0.10, 0.35),
    ),
}
