"""Pictures of any colour mode and orientation become upright RGB."""

from __future__ import annotations

import numpy as np
import pytest
from opened_data import encoded
from PIL import Image

from fedtl.data.decoding import decode_rgb
from fedtl.data.pillow_warnings import doubts
from fedtl.errors import UnreadableImageError


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
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 7, 7, 7])
    palette.putpixel((1, 0), 1)
    assert decode_rgb(encoded(palette, transparency=0)).tolist() == [[[255] * 3, [7] * 3]]
    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (5, 255))
    assert decode_rgb(encoded(grey)).tolist() == [[[255] * 3, [5] * 3]]


def test_a_picture_that_is_all_transparent_shows_its_colours() -> None:
    doubts()
    assert decode_rgb(encoded(Image.new("RGBA", (1, 1), (10, 20, 30, 0)))).tolist() == [
        [[10, 20, 30]]
    ]
    assert decode_rgb(encoded(Image.new("LA", (1, 1), (7, 0)))).tolist() == [[[7] * 3]]
    assert "2 × all transparent, so transparency is ignored" in doubts()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_further_frames_are_told(kind: str) -> None:
    doubts()
    first, second = (Image.new("RGB", (4, 4), shade) for shade in ("black", "white"))
    assert decode_rgb(encoded(first, kind)).max() < 9 and doubts() == ""
    film = encoded(first, kind, save_all=True, append_images=[second, first])
    assert decode_rgb(film).max() < 9
    assert "1 × several pages or frames; the first is read" in doubts()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf<!DOCTYPE html><p>404", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1234\n", "1,234 bytes"),
        (b'{"message": "Not Found"}', "a JSON message"),
        (b"anything else", "no known image format"),
    ],
)
def test_what_came_in_a_pictures_place_is_told(content: bytes, said: str) -> None:
    with pytest.raises(UnreadableImageError, match=said):
        decode_rgb(content)


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decode_rgb(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))
