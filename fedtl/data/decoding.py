"""From an image file's bytes to RGB pixels, the same whatever the file's colour mode."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import UnreadableImageError
from fedtl.errors import first_line

if TYPE_CHECKING:
    from PIL import Image

# 16-bit grey is scaled by its format's full range, not by the picture's own brightest pixel: two
# pictures stay comparable, and a picture's pixels depend on its own file alone.
_SIXTEEN_TO_EIGHT_BITS = 257


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Return the picture in an image file, shape ``(height, width, 3)``, upright.

    The EXIF orientation is applied, transparency is laid on white, palettes are resolved, 16-bit
    grey is scaled from its full range, and of several frames the first is taken.

    Args:
        data: The file's bytes, in any format Pillow reads.

    Raises:
        UnreadableImageError: The bytes are no picture, or a broken one.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return _rgb(ImageOps.exif_transpose(picture))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("no known image format") from None
    except MemoryError:
        raise
    # Pillow's format plugins meet broken bytes with exceptions of every kind, IndexError and
    # struct.error included.
    except Exception as error:
        raise UnreadableImageError(first_line(error)) from error


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    if picture.mode == "F":
        raise UnreadableImageError(
            "floating-point pixels have no fixed range; save it as 8 or 16 bit"
        )
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _rgb_from_16_bit(np.asarray(picture))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer)
    return np.array(picture.convert("RGB"))


def _rgb_from_16_bit(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise UnreadableImageError("integer pixels outside the 16-bit range 0 to 65535")
    narrow = (grey.astype(np.uint32) + _SIXTEEN_TO_EIGHT_BITS // 2) // _SIXTEEN_TO_EIGHT_BITS
    return np.repeat(narrow.astype(np.uint8)[:, :, None], 3, axis=2)
