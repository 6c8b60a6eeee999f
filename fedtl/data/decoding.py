"""From an image file's bytes to RGB pixels, the same whatever the file's colour mode."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.budget import MOST_PIXELS
from fedtl.data.deep_grey import STRIP_PIXELS, DeepGrey
from fedtl.data.grey_scale import Extent, GreyScale, extent_of
from fedtl.data.image_formats import has_dicom, is_dicom, readable_formats
from fedtl.data.pillow_warnings import doubt, heard
from fedtl.data.png_metadata import is_png, without_metadata
from fedtl.data.tiff_tags import pixels_told, with_black_as_zero
from fedtl.errors import UnreadableImageError, first_line
from fedtl.foreign_content import foreign_content

if TYPE_CHECKING:
    from PIL import Image

# Larger ones are whole slides, and squeezed into a network's input nothing would be left of their
# cells. Those in a picture, as of an icon, are opened by Pillow itself, which refuses twice this.
_PILLOWS_LIMIT = MOST_PIXELS // 2

_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_HALF = 128
_WHITE_IS_ZERO, _SIGNED, _IN_PLANES = 0, 2, 2
# Formats whose further frames people mean; in others they are previews.
_OF_FRAMES = ("TIFF", "GIF", "WEBP", "PNG")


def decode_rgb(data: bytes, scale: GreyScale | None = None) -> NDArray[np.uint8]:
    """Return the picture in an image file, shape ``(height, width, 3)``, upright.

    The EXIF orientation is applied, transparency is laid on white, palettes are resolved, and the
    first of several frames is taken.

    Args:
        data: The file's bytes, in any format that Pillow or an installed extra reads.
        scale: What is black and white where grey values have more than 8 bits; by default whole
            numbers reach from 0 to 65535, and fractions are refused.

    Raises:
        UnreadableImageError: The bytes are no picture, or a broken one.
    """
    picture = _decoded(data)
    return picture.rgb(scale or GreyScale()) if isinstance(picture, DeepGrey) else picture


def grey_extent(data: bytes) -> Extent | None:
    """Return a picture's smallest and largest grey value; ``None`` if it has 8 bits a channel.

    Only pictures of more bits are decoded for it.

    Raises:
        UnreadableImageError: The bytes are no picture, or a broken one.
    """
    picture = _decoded(data, only_deep=True)
    return picture.extent if isinstance(picture, DeepGrey) else None


def surely_shallow(head: bytes) -> bool:
    """Return whether a file's first 33 bytes say that its pictures have 8 bits a channel."""
    if is_png(head):
        # Pillow reads 16-bit colour as 8 bits; the depth comes before the kind of colour.
        return len(head) > 25 and (head[24] < 16 or head[25] != 0)
    return head.startswith((b"\xff\xd8\xff", b"GIF8", b"BM")) or head[8:12] == b"WEBP"


def _decoded(data: bytes, *, only_deep: bool = False) -> NDArray[np.uint8] | DeepGrey:
    """Return the pixels; with ``only_deep`` no pixels, unless they are of more than 8 bits."""
    try:
        with heard():
            if is_dicom(data[:132]):
                from fedtl.data.dicom import dicom_picture

                return dicom_picture(data)
            return _of_pillow(data, only_deep=only_deep)
    except (UnreadableImageError, MemoryError):
        raise
    # Format plugins meet broken bytes with exceptions of every kind, IndexError and struct.error
    # included.
    except Exception as error:
        raise UnreadableImageError(first_line(error)) from error


def _of_pillow(data: bytes, *, only_deep: bool) -> NDArray[np.uint8] | DeepGrey:
    from PIL import Image, UnidentifiedImageError

    try:
        return _pixels(data, only_deep=only_deep)
    except ValueError:
        # Pillow refuses text and profiles of more than 1 MB, which have no part in the pixels.
        if not is_png(data):
            raise
        return _pixels(without_metadata(data), only_deep=only_deep)
    except Image.DecompressionBombError:
        raise UnreadableImageError(too_many_pixels()) from None
    except UnidentifiedImageError:
        black = with_black_as_zero(data)
        if black is not None:
            negative = _of_pillow(black, only_deep=only_deep)
            if isinstance(negative, DeepGrey):
                return replace(negative, inverted=True)
            return np.subtract(255, negative, dtype=np.uint8)
        if pixels := pixels_told(data):
            one = "channels" not in pixels
            remedy = "16-bit unsigned or 32-bit floating-point" if one else "8-bit RGB"
            raise UnreadableImageError(
                f"TIFF of {pixels}, which Pillow does not read; save it as {remedy}"
            ) from None
        if has_dicom():
            from fedtl.data.dicom import dicom_picture, is_dicom_without_mark

            if is_dicom_without_mark(data):
                return dicom_picture(data)
        raise UnreadableImageError(foreign_content(data) or "no known image format") from None


def _pixels(data: bytes, *, only_deep: bool) -> NDArray[np.uint8] | DeepGrey:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = _PILLOWS_LIMIT
    with Image.open(io.BytesIO(data), formats=readable_formats()) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise UnreadableImageError(too_many_pixels())
        tags = getattr(picture, "tag_v2", {})
        if not only_deep and picture.format in _OF_FRAMES and _has_more(picture):
            doubt("several pages or frames; the first is read")
        signed = _SIGNED in _several(tags.get(_SAMPLE_FORMAT))
        bytewise = picture.mode == "L" and signed
        if bytewise or picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
            # A PGM says which value is white, and Pillow stretches that to 16 bits; 65535 is but
            # what 16 bits can hold.
            told = picture.format == "PPM" and picture.tile[0].codec_name != "raw"
            values = np.asarray(_upright(picture))
            if bytewise:
                values = values.view(np.int8)
            elif picture.format == "TIFF" and picture.mode == "I" and not signed:
                values = values.view(np.uint32)
            whole = picture.mode != "F"
            extent = None if told else extent_of(values, whole=whole)
            return DeepGrey(values, whole, inverted, extent, _stretched(values) if told else None)
        if only_deep:
            return np.empty((0, 0, 3), np.uint8)
        if _in_deep_planes(tags):
            raise UnreadableImageError(
                "TIFF of 16-bit colour in separate planes, which Pillow reads wrongly; save it as "
                "8-bit RGB"
            )
        pixels = _rgb(_upright(picture))
        if _of_deep_colour(data, tags) and pixels.max() < _HALF:
            doubt(
                "16-bit colour that is not filled, of which the upper 8 bits are read, so that it "
                "is dark (save it as 8 bits)"
            )
        return pixels


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says, and return it; copy it only if needed."""
    from PIL import ImageOps

    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def too_many_pixels() -> str:
    """Return what is wrong with a picture that is too large."""
    return f"more than {MOST_PIXELS / 1e6:.0f} million pixels"


def _of_deep_colour(data: bytes, tags: Any) -> bool:
    """Return whether a file has 16 bits a channel, of which Pillow keeps eight."""
    return (is_png(data) and data[24] == 16) or _several(tags.get(_BITS))[0] == 16


def _has_more(picture: Image.Image) -> bool:
    return bool(getattr(picture, "is_animated", False))


def _in_deep_planes(tags: Any) -> bool:
    bits = _several(tags.get(_BITS))
    return tags.get(_PLANAR) == _IN_PLANES and len(bits) > 1 and bits[0] == 16


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    return GreyScale().levels(values, whole=True)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    width, height = picture.size
    rows = max(1, STRIP_PIXELS // width)
    hidden = _all_transparent(picture)
    if rows >= height:
        return _rgb_of(picture, hidden=hidden)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _rgb_of(strip, hidden=hidden)
    return pixels


def _all_transparent(picture: Image.Image) -> bool:
    """Return whether nothing of a picture would be seen; tell of it."""
    if not picture.has_transparency_data:
        return False
    width, height = picture.size
    rows = max(1, STRIP_PIXELS // width)
    hidden = all(
        picture.crop((0, top, width, min(top + rows, height)))
        .convert("RGBA")
        .getchannel("A")
        .getextrema()
        == (0, 0)
        for top in range(0, height, rows)
    )
    if hidden:
        doubt("all transparent, so transparency is ignored")
    return hidden


def _rgb_of(picture: Image.Image, *, hidden: bool) -> NDArray[np.uint8]:
    from PIL import Image

    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        if hidden:
            return np.array(layer.convert("RGB"))
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer)
    return np.array(picture.convert("RGB"))
