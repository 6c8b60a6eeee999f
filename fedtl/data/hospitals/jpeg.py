"""What baseline JPEG compression leaves of a picture, the same to the bit on every machine.

No file is written: only quantisation loses anything, so coding and decoding the coefficients, which
loses nothing, is left out. The steps are those of ITU-T T.81 and of libjpeg's decoder.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedtl.data.hospitals.draws import Float

# ITU-T T.81, tables K.1 and K.2, row by row.
_LUMINANCE = """
    16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55
    14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
    18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
_CHROMINANCE = """
    17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99
    24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""


def _transform() -> NDArray[np.float64]:
    """Return the orthonormal transform of 8x8 blocks, shape ``(64, 64)``: row k is a basis."""
    order, place = np.arange(8)[:, None], np.arange(8)
    cosines = np.sqrt(np.where(order == 0, 1 / 8, 1 / 4)) * np.cos(
        (2 * place + 1) * order * np.pi / 16
    )
    return np.kron(cosines, cosines)


# Matrices of whole numbers, so that a product with whole numbers is exact in float32 whatever the
# order of its additions: neither the batch, nor threads, nor the CPU's matrix kernel can change a
# bit. A row of the transform has absolute sum 8 at most and norm 1; samples are at most 128, and a
# block of dequantised coefficients has norm 8 * (128 + 255 / 2) at most. So every partial sum stays
# below 128 * 8 * 2**13 = 2**23 there and 2044 * 2**12 < 2**23 back, plus what rounding the
# matrices adds, below the 2**24 up to which float32 counts.
_THERE, _BACK = np.float32(2**13), np.float32(2**12)
# Blocks in one product.
_ROWS = 32
_FORWARD = np.rint(_transform().T * _THERE).astype(np.float32)
_INVERSE = np.rint(_transform() * _BACK).astype(np.float32)


def compressed(
    pictures: NDArray[np.uint8], quality: NDArray[np.int64], chroma_halved: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return pictures as they are read back from JPEG files, shape ``(n, height, width, 3)``.

    A picture's result does not depend on the others'.

    Args:
        pictures: RGB, shape ``(n, height, width, 3)``.
        quality: libjpeg's scale, 1 to 100; 0 leaves a picture as it is. Shape ``(n,)``.
        chroma_halved: 4:2:0, colour at half the resolution, rather than 4:4:4; shape ``(n,)``.
    """
    lossy = np.flatnonzero(quality)
    if not len(lossy):
        return pictures
    height, width = pictures.shape[1:3]
    margin = ((0, 0), (0, 0), (0, -height % 16), (0, -width % 16))
    light = np.pad(pictures[lossy].transpose(0, 3, 1, 2), margin, mode="edge").astype(np.float32)
    luma, chroma = _separated(light)
    tables = _tables(_LUMINANCE, quality[lossy])
    luma = _quantised(luma, tables)[:, 0, :height, :width]
    tables = _tables(_CHROMINANCE, quality[lossy])
    colour = np.empty((len(lossy), 2, height, width), dtype=np.float32)
    halved = chroma_halved[lossy]
    if halved.any():
        small = _quantised(_halved(chroma[halved]), tables[halved])
        small = small[:, :, : (height + 1) // 2, : (width + 1) // 2]
        colour[halved] = _doubled(small)[:, :, :height, :width]
    if not halved.all():
        colour[~halved] = _quantised(chroma[~halved], tables[~halved])[:, :, :height, :width]
    result = pictures.copy()
    result[lossy] = _joined(luma, colour)
    return result


def _tables(standard: str, quality: NDArray[np.int64]) -> Float:
    """Return the quantisation tables that libjpeg makes of a standard one, shape ``(n, 64)``."""
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = np.array(standard.split(), dtype=np.int64)
    return ((table * scale[:, None] + 50) // 100).clip(1, 255).astype(np.float32)


def _separated(light: Float) -> tuple[Float, Float]:
    """Return luma, shape ``(n, 1, h, w)``, and both chromas, ``(n, 2, h, w)``, centred at 0."""
    red, green, blue = light[:, 0], light[:, 1], light[:, 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue - 128
    chroma = np.empty((len(light), 2, *luma.shape[1:]), dtype=np.float32)
    chroma[:, 0] = 0.5 * blue - 0.168735892 * red - 0.331264108 * green
    chroma[:, 1] = 0.5 * red - 0.418687589 * green - 0.081312411 * blue
    np.minimum(np.rint(chroma, out=chroma), 127, out=chroma)
    return np.rint(luma)[:, None], chroma


def _joined(luma: Float, chroma: Float) -> NDArray[np.uint8]:
    """Return RGB pictures, shape ``(n, h, w, 3)``, of centred luma and chroma."""
    luma = luma + 128
    blueness, redness = chroma[:, 0], chroma[:, 1]
    pictures = np.empty((*luma.shape, 3), dtype=np.uint8)
    for colour, light in enumerate(
        (
            luma + 1.402 * redness,
            luma - 0.344136286 * blueness - 0.714136286 * redness,
            luma + 1.772 * blueness,
        )
    ):
        pictures[..., colour] = np.rint(light, out=light).clip(0, 255, out=light)
    return pictures


def _quantised(planes: Float, tables: Float) -> Float:
    """Return whole-numbered planes with their 8x8 blocks' coefficients quantised.

    Args:
        planes: Shape ``(n, planes, h, w)``, centred; ``h`` and ``w`` multiples of 8.
        tables: Quantisation steps, shape ``(n, 64)``.
    """
    n, count, height, width = planes.shape
    grid = (n, count, height // 8, 8, width // 8, 8)
    # Products small enough for BLAS to make on the calling thread: its own threads hang where
    # another thread starts a process meanwhile, as Ray does. Whole numbers lose nothing by it.
    rows = math.gcd(count * (height // 8) * (width // 8), _ROWS)
    blocks = planes.reshape(grid).transpose(0, 1, 2, 4, 3, 5).reshape(n, -1, rows, 64)
    steps = tables[:, None, None]
    coefficients = np.matmul(blocks, _FORWARD)
    coefficients /= steps * _THERE
    # Halves go away from zero, as libjpeg has them.
    coefficients += np.copysign(np.float32(0.5), coefficients)
    np.trunc(coefficients, out=coefficients)
    coefficients *= steps
    blocks = np.matmul(coefficients, _INVERSE)
    blocks /= _BACK
    np.rint(blocks, out=blocks).clip(-128, 127, out=blocks)
    split = blocks.reshape(n, count, height // 8, width // 8, 8, 8)
    joined: Float = split.transpose(0, 1, 2, 4, 3, 5).reshape(planes.shape)
    return joined


def _halved(planes: Float) -> Float:
    """Return the means of 2x2 samples; as in libjpeg, halves round up in every other column."""
    total: Float = planes[:, :, ::2, ::2] + planes[:, :, 1::2, ::2]
    total += planes[:, :, ::2, 1::2] + planes[:, :, 1::2, 1::2]
    total += 1 + np.arange(total.shape[3], dtype=np.float32) % 2
    total *= np.float32(0.25)
    return np.floor(total, out=total)


def _doubled(planes: Float) -> Float:
    """Return planes of twice the resolution, interpolated as libjpeg's decoder does."""
    n, count, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    near = 3 * padded[:, :, 1:-1]
    rows = np.empty((n, count, 2 * height, width + 2), dtype=np.float32)
    rows[:, :, ::2], rows[:, :, 1::2] = near + padded[:, :, :-2], near + padded[:, :, 2:]
    near = 3 * rows[..., 1:-1]
    doubled = np.empty((n, count, 2 * height, 2 * width), dtype=np.float32)
    # Sums are sixteenths; a half rounds up in even columns and down in odd ones.
    doubled[..., ::2], doubled[..., 1::2] = near + rows[..., :-2] + 8, near + rows[..., 2:] + 7
    doubled *= np.float32(1 / 16)
    return np.floor(doubled, out=doubled)
