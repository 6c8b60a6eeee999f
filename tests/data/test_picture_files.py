"""What surrounds the pixels of a picture: metadata, proportions, size, warnings of decoders."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from opened_data import encoded
from PIL import Image

from fedtl.data.decoding import decode_rgb, grey_extent
from fedtl.errors import UnreadableImageError

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_metadata_of_any_size_is_passed_over(kind: bytes) -> None:
    packed = zlib.compress(bytes(range(256)) * 8000)
    body = {
        b"iCCP": b"scanner\0\0" + packed,
        b"zTXt": b"Comment\0\0" + packed,
        b"iTXt": b"Comment\0\1\0\0\0" + packed,
    }[kind]
    plain = encoded(Image.fromarray(RAMP.astype(np.uint8)))
    data = plain[:33] + chunk(kind, body) + plain[33:]
    with pytest.raises(ValueError, match="MAX_TEXT"):
        Image.open(io.BytesIO(data)).load()
    assert np.array_equal(decode_rgb(data), decode_rgb(plain))
    deep = encoded(Image.fromarray(RAMP))
    assert grey_extent(deep[:33] + chunk(kind, body) + deep[33:]) == grey_extent(deep)


@pytest.mark.parametrize("shape", [(1, 300_000), (300_000, 1), (2, 5000)])
def test_a_picture_of_any_proportions_takes_little_memory(shape: tuple[int, int]) -> None:
    from fedtl.transfer.preprocessing import Preprocessing

    kept = Preprocessing(224, 256, "BILINEAR", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    picture = np.full((*shape, 3), 7, np.uint8)
    tracemalloc.start()
    crop = kept.crop(picture)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert crop.shape == (224, 224, 3) and (crop == 7).all()
    assert peak < 2e7


def test_a_picture_of_too_many_pixels_is_told() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImageError, match="more than 67 million pixels"):
        decode_rgb(data)


def test_dark_colour_of_16_bits_is_told() -> None:
    from fedtl.data.pillow_warnings import doubts

    def colour(high: int) -> bytes:
        row = b"\0" + struct.pack(">6H", *(high * n // 5 for n in range(6)))
        head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunks

    doubts()
    assert decode_rgb(colour(65535)).max() == 255 and doubts() == ""
    assert decode_rgb(colour(4095)).max() == 15
    assert "1 × 16-bit colour that is not filled" in doubts()


def test_what_pillow_warns_of_is_told_in_a_sentence_of_ours() -> None:
    from fedtl.data.pillow_warnings import doubts

    doubts()
    with warnings.catch_warnings(record=True) as raw:
        warnings.simplefilter("always")
        for _ in range(3):
            _warned()
    assert raw == []
    assert doubts() == "pictures are decoded with doubts: 3 × Corrupt EXIF data"
    assert doubts() == ""


def _warned() -> None:
    import PIL.TiffImagePlugin

    from fedtl.data.pillow_warnings import heard

    with heard():
        exec(
            compile("import warnings; warnings.warn('Corrupt EXIF data')", "PIL", "exec"),
            {"__name__": PIL.TiffImagePlugin.__name__},
        )
