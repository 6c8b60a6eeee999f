"""What the hospitals are like: the stain, instruments and patients that each has of its own.

Every departure from the nominal hospital is a draw times the strength of its effect, held within
limits: whatever the strength, a cell stays visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.cell_types import CELL_TYPES
from fedtl.data.hospitals.draws import Float
from fedtl.data.hospitals.options import SiteShift
from fedtl.determinism import generator

# Absorbance of azure-stained chromatin, eosin and RNA-bound azure in red, green and blue light,
# read off Wright-Giemsa smears; rows as in ``painting``.
_ABSORBANCE = np.array([[0.62, 1.02, 0.42], [0.16, 0.72, 0.68], [0.78, 0.55, 0.14]])
_LAMP = np.array([0.95, 0.92, 0.94])

MOST_BLUR = 3.0
"""Largest standard deviation of the defocus at 64 pixels' width, in pixels."""


@dataclass(frozen=True)
class Sites:
    """How each of S hospitals takes its pictures.

    Attributes:
        absorbance: Per dye and colour, shape ``(S, 3, 3)``.
        lamp: Colour of the empty field in [0, 1], shape ``(S, 3)``.
        gradient: Brightness gained from one edge of the field to the other, as (x, y),
            shape ``(S, 2)``.
        blur: Standard deviation of the defocus at 64 pixels' width, in pixels, shape ``(S, 1)``.
        noise: Standard deviation of the sensor's noise, shape ``(S, 1)``.
        magnification: Scale of the cells, shape ``(S, 1)``.
        jpeg_quality: From 10 to 100, or 0 where files are not compressed; int64, shape ``(S,)``.
        chroma_halved: Whether files keep colour at half the resolution (4:2:0), shape ``(S,)``.
    """

    absorbance: Float
    lamp: Float
    gradient: Float
    blur: Float
    noise: Float
    magnification: Float
    jpeg_quality: NDArray[np.int64]
    chroma_halved: NDArray[np.bool_]


@dataclass(frozen=True)
class CaseMix:
    """Whose blood each of S hospitals sees.

    Attributes:
        volume: Cumulative share of all pictures, shape ``(S,)``.
        prevalence: Cumulative frequency of each cell type but the last, shape ``(S, C - 1)``.
    """

    volume: NDArray[np.float64]
    prevalence: NDArray[np.float64]


def draw_sites(seed: int, sites: int, shift: SiteShift) -> Sites:
    """Return the sites' stains and instruments; where an effect is 0, all are the same.

    A site does not depend on how many others there are, nor one effect on another's strength.
    """
    drawn = [generator(seed, "hospital site", site) for site in range(sites)]
    normal = np.stack([rng.standard_normal(24) for rng in drawn])
    uniform = np.stack([rng.random(4) for rng in drawn])

    hue = _ABSORBANCE * _factor(0.12 * shift.stain * normal[:, :9], 1.2).reshape(-1, 3, 3)
    # The dyes' strength is a factor of its own, so a change of hue leaves the total as it was.
    hue *= _ABSORBANCE.sum(axis=1)[:, None] / hue.sum(axis=2, keepdims=True)
    strength = _factor(0.18 * shift.stain * normal[:, 9:12], 1.1)
    lamp = _LAMP * _factor(-np.abs(0.07 * shift.illumination * normal[:, 12:15]), 0.7)
    gradient = (0.12 * shift.illumination * normal[:, 15:17]).clip(-0.6, 0.6)
    blur = (0.45 + 0.75 * shift.focus * uniform[:, :1]).clip(max=MOST_BLUR)
    noise = (0.010 + 0.022 * shift.noise * uniform[:, 1:2]).clip(max=0.15)
    scale = np.exp(0.07 * shift.magnification * normal[:, 17:18]).clip(0.7, 1.4)
    quality = np.rint(100 - shift.jpeg * (5 + 40 * uniform[:, 2])).clip(min=10)
    return Sites(
        absorbance=(hue * strength[:, :, None]).astype(np.float32),
        lamp=lamp.astype(np.float32),
        gradient=gradient.astype(np.float32),
        blur=blur.astype(np.float32),
        noise=noise.astype(np.float32),
        magnification=scale.astype(np.float32),
        jpeg_quality=quality.astype(np.int64) * (shift.jpeg > 0),
        chroma_halved=uniform[:, 3] < shift.jpeg / 2,
    )


def draw_case_mix(seed: int, sites: int, strength: float) -> CaseMix:
    """Return the sites' shares and differential counts; at ``strength`` 0 all are the same."""
    share = np.array([generator(seed, "hospital share", site).random() for site in range(sites)])
    volume = np.cumsum(_factor(0.5 * strength * (share - 0.5), 1.5))
    nominal = np.array([cell.prevalence for cell in CELL_TYPES.values()])
    mix = np.stack(
        [
            generator(seed, "hospital case mix", site).standard_normal(len(nominal))
            for site in range(sites)
        ]
    )
    frequency = nominal * _factor(0.35 * strength * mix, 3.0)
    prevalence = np.cumsum(frequency / frequency.sum(axis=1, keepdims=True), axis=1)
    return CaseMix(volume / volume[-1], prevalence[:, :-1])


def _factor(logarithm: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Return e to the power of ``logarithm``, which is held between -``most`` and ``most``."""
    factor: NDArray[np.float64] = np.exp(logarithm.clip(-most, most))
    return factor
