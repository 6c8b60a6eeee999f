"""Pictures of any colour mode and orientation become upright RGB."""

from __future__ import annotations

import numpy as np
import pytest
from opened_data import encoded
from PIL import Image

from fedtl.data.dataset import UnreadableImageError
from fedtl.data.decoding import decode_rgb


def test_orientation_is_honoured() -> None:
    picture = Image.new("RGB", (6, 4), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: turn by 90 degrees clockwise to see it upright
    pixels = decode_rgb(encoded(picture, exif=exif))
    assert pixels.shape == (6, 4, 3)
    assert (pixels[0, 3] == 255).all() and pixels.sum() == 3 * 255


def test_colour_modes_become_rgb() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    three = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(decode_rgb(encoded(Image.fromarray(grey))), three)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(decode_rgb(encoded(deep)), three)
    assert np.array_equal(decode_rgb(encoded(deep, "TIFF")), three)
    assert np.array_equal(
        decode_rgb(encoded(Image.fromarray(grey.astype(np.int32) * 257), "TIFF")), three
    )
    palette = Image.new("P", (1, 1), 7)
    palette.putpalette([0, 0, 0] * 7 + [10, 20, 30])
    assert decode_rgb(encoded(palette)).tolist() == [[[10, 20, 30]]]
    assert decode_rgb(encoded(Image.new("1", (1, 1), 1))).tolist() == [[[255] * 3]]
    cmyk = decode_rgb(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert (abs(cmyk[4, 4].astype(int) - [255, 0, 0]) < 8).all()


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    assert decode_rgb(encoded(clear)).tolist() == [[[255] * 3, [255, 0, 0]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9])
    assert decode_rgb(encoded(palette, transparency=0)).tolist() == [[[255] * 3]]
    assert decode_rgb(encoded(Image.new("LA", (1, 1), (0, 0)))).tolist() == [[[255] * 3]]


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decode_rgb(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))
