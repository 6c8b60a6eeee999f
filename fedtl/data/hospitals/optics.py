"""What a hospital's microscope, camera and files make of a stained smear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.draws import Draws, Float
from fedtl.data.hospitals.jpeg import compressed
from fedtl.data.hospitals.sites import MOST_BLUR, Sites

_REFERENCE_SIZE = 64
_BLUR_VARIES = (0.8, 1.3)
# A kernel ends after so many standard deviations.
_KERNEL_ENDS = 2.5


def photograph(
    draws: Draws, dyes: Float, sites: Sites, site: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the pictures that sites keep of stained smears, shape ``(n, size, size, 3)``.

    Light is absorbed by the Beer-Lambert law, blurred by the optics, read with noise, and lossily
    compressed where the site does that.

    Args:
        draws: Random numbers of the batch.
        dyes: Amount of each dye, shape ``(n, 3, size, size)``.
        sites: The hospitals.
        site: Hospital of each picture, shape ``(n,)``.
    """
    size = dyes.shape[2]
    strength = draws.uniform(0.7, 1.4, 3)[:, :, None]
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
    gradient = sites.gradient[site]
    light *= (1 + gradient[:, 0, None] * centred)[:, None, None, :]
    light *= (1 + gradient[:, 1, None] * centred)[:, None, :, None]

    focus = sites.blur[site] * draws.uniform(*_BLUR_VARIES, 1)
    light = _blurred(light, focus * np.float32(size / _REFERENCE_SIZE))
    light += draws.normal(3, size, size) * sites.noise[site][:, :, None, None]
    light *= 255
    light += np.float32(0.5)
    np.clip(light, 0, 255, out=light)
    pictures = light.transpose(0, 2, 3, 1).astype(np.uint8, order="C")
    return compressed(pictures, sites.jpeg_quality[site], sites.chroma_halved[site])


def _blurred(light: Float, deviation: Float) -> Float:
    """Return ``light`` convolved with each picture's own Gaussian, edges repeated.

    Args:
        light: Shape ``(n, 3, size, size)``.
        deviation: Standard deviation in pixels, shape ``(n, 1)``.
    """
    # A picture's kernel is its own in every batch: it is computed for the widest there can be, and
    # the zeros beyond its end, which a wider neighbour has the loop go over, change no bit.
    widest = _KERNEL_ENDS * MOST_BLUR * _BLUR_VARIES[1] * light.shape[2] / _REFERENCE_SIZE
    offsets = np.arange(int(np.ceil(widest)) + 1, dtype=np.float32)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    weights[offsets > np.ceil(np.float32(_KERNEL_ENDS) * deviation)] = 0
    weights /= 2 * weights.sum(axis=1, keepdims=True) - weights[:, :1]
    weights = weights[:, weights.any(axis=0)]
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
    pair = np.empty_like(light)
    for offset in range(1, reach + 1):
        np.add(moved(-offset), moved(offset), out=pair)
        pair *= weights[:, offset, None, None, None]
        blurred += pair
    return blurred
