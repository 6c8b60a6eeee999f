"""What a hospital's stain, microscope and camera make of a smear: the shift between sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.draws import Draws, Float
from fedtl.determinism import generator

# Absorbance of azure-stained chromatin, eosin and RNA-bound azure in red, green and blue light,
# read off Wright-Giemsa smears; rows as in ``painting``.
_ABSORBANCE = np.array([[0.62, 1.02, 0.42], [0.16, 0.72, 0.68], [0.78, 0.55, 0.14]])
_REFERENCE_SIZE = 64


@dataclass(frozen=True)
class Sites:
    """How each of S hospitals departs from the nominal one.

    Attributes:
        absorbance: Per dye and colour, shape ``(S, 3, 3)``.
        lamp: Colour of the empty field in [0, 1], shape ``(S, 3)``.
        vignette: Brightness gained from one edge of the field to the other, as (x, y),
            shape ``(S, 2)``.
        blur: Standard deviation of the defocus at 64 pixels' width, in pixels, shape ``(S, 1)``.
        noise: Standard deviation of the sensor's noise, shape ``(S, 1)``.
        magnification: Scale of the cells, shape ``(S, 1)``.
    """

    absorbance: Float
    lamp: Float
    vignette: Float
    blur: Float
    noise: Float
    magnification: Float


def draw_sites(seed: int, sites: int, shift: float) -> Sites:
    """Return the sites' stains and instruments; at ``shift`` 0 they are all the same.

    A site does not depend on how many others there are.
    """
    drawn = [generator(seed, "hospital site", site) for site in range(sites)]
    normal = np.stack([rng.standard_normal(24) for rng in drawn]) * shift
    uniform = np.stack([rng.random(4) for rng in drawn]) * shift
    hue = _ABSORBANCE * np.exp(0.12 * normal[:, :9].reshape(-1, 3, 3))
    # Stain strength is its own factor, so a hue's change leaves the total absorbance as it was.
    hue *= _ABSORBANCE.sum(axis=1)[:, None] / hue.sum(axis=2, keepdims=True)
    strength = np.exp(0.18 * normal[:, 9:12])
    lamp = np.array([0.95, 0.92, 0.94]) * np.exp(-np.abs(0.07 * normal[:, 12:15]))
    return Sites(
        absorbance=(hue * strength[:, :, None]).astype(np.float32),
        lamp=lamp.astype(np.float32),
        vignette=(0.12 * normal[:, 15:17]).clip(-0.35, 0.35).astype(np.float32),
        blur=(0.45 + 0.75 * uniform[:, :1]).astype(np.float32),
        noise=(0.010 + 0.022 * uniform[:, 1:2]).astype(np.float32),
        magnification=np.exp(0.07 * normal[:, 17:18]).clip(0.8, 1.2).astype(np.float32),
    )


def photograph(
    draws: Draws, dyes: Float, sites: Sites, site: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the camera's pictures of stained smears, shape ``(n, size, size, 3)``.

    Light is absorbed by the Beer-Lambert law, blurred by the optics and read with noise.

    Args:
        draws: Random numbers of the batch.
        dyes: Amount of each dye, shape ``(n, 3, size, size)``.
        sites: The hospitals.
        site: Hospital of each picture, shape ``(n,)``.
    """
    size = dyes.shape[2]
    strength = draws.uniform(0.8, 1.25, 3)[:, :, None]
    exposure = draws.uniform(0.93, 1.05, 1)
    absorbance = sites.absorbance[site] * strength
    light = np.empty_like(dyes)
    for colour in range(3):
        density = dyes[:, 0] * absorbance[:, 0, colour, None, None]
        density += dyes[:, 1] * absorbance[:, 1, colour, None, None]
        density += dyes[:, 2] * absorbance[:, 2, colour, None, None]
        np.exp(-density, out=light[:, colour])
    light *= (sites.lamp[site] * exposure)[:, :, None, None]
    centred = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - 0.5
    tilt = sites.vignette[site]
    light *= (1 + tilt[:, 0, None] * centred)[:, None, None, :]
    light *= (1 + tilt[:, 1, None] * centred)[:, None, :, None]

    focus = sites.blur[site] * draws.uniform(0.8, 1.3, 1) * np.float32(size / _REFERENCE_SIZE)
    light = _blurred(light, focus)
    light += draws.normal(3, size, size) * sites.noise[site][:, :, None, None]
    light *= 255
    light += np.float32(0.5)
    np.clip(light, 0, 255, out=light)
    return np.ascontiguousarray(light.astype(np.uint8).transpose(0, 2, 3, 1))


def _blurred(light: Float, deviation: Float) -> Float:
    """Return ``light`` convolved with each picture's own Gaussian, edges repeated.

    Args:
        light: Shape ``(n, 3, size, size)``.
        deviation: Standard deviation in pixels, shape ``(n, 1)``.
    """
    # The widest kernel any site can have, so that a picture's kernel is its own in every batch.
    reach = max(1, round(2.5 * light.shape[2] / _REFERENCE_SIZE))
    offsets = np.arange(reach + 1, dtype=np.float32)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    weights /= 2 * weights.sum(axis=1, keepdims=True) - weights[:, :1]
    for axis in (2, 3):
        light = _convolved(light, weights, axis)
    return light


def _convolved(light: Float, weights: Float, axis: int) -> Float:
    """Return ``light`` convolved along ``axis`` with symmetric kernels.

    Args:
        light: Shape ``(n, 3, size, size)``.
        weights: Centre and right half of each picture's kernel, shape ``(n, reach + 1)``.
        axis: 2 or 3.
    """
    reach, size = weights.shape[1] - 1, light.shape[axis]
    margin = [(0, 0)] * 4
    margin[axis] = (reach, reach)
    padded = np.pad(light, margin, mode="edge")

    def moved(offset: int) -> Float:
        window = [slice(None)] * 4
        window[axis] = slice(reach + offset, reach + offset + size)
        return padded[tuple(window)]

    blurred = light * weights[:, :1, None, None]
    for offset in range(1, reach + 1):
        blurred += (moved(-offset) + moved(offset)) * weights[:, offset, None, None, None]
    return blurred
