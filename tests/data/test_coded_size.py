"""What a compressed picture says of its size, beside Pillow's; and one that says too much."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, features

from fedtl.data.coded_size import coded_values
from fedtl.data.dicom import dicom_picture
from fedtl.errors import UnreadableImageError

_JPEG2000 = pytest.mark.skipif(not features.check("jpg_2000"), reason="Pillow has no JPEG 2000")
_KINDS = ["JPEG", pytest.param("j2k", marks=_JPEG2000), pytest.param("jp2", marks=_JPEG2000)]
_SYNTAX = {"JPEG": "1.2.840.10008.1.2.4.50"}
_JPEG2000_SYNTAX = "1.2.840.10008.1.2.4.90"


def _coded(kind: str, width: int, height: int, mode: str = "L") -> bytes:
    picture = Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width))
    content = io.BytesIO()
    options = (
        {"no_jp2": True} if kind == "j2k" else {"comment": "\xff\xc0"} if kind == "JPEG" else {}
    )
    picture.convert(mode).save(content, "JPEG" if kind == "JPEG" else "JPEG2000", **options)
    return content.getvalue()


def _stating(stream: bytes, kind: str, side: int) -> bytes:
    """Return a stream whose own header says that it is so many pixels wide and high."""
    if kind == "JPEG":
        at = stream.index(b"\xff\xc0\x00\x0b") + 5
        return stream[:at] + struct.pack(">HH", side, side) + stream[at + 4 :]
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    return stream[:at] + struct.pack(">II", side, side) + stream[at + 8 :]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", _KINDS)
def test_a_stream_says_what_it_makes(kind: str, mode: str) -> None:
    stream = _coded(kind, 20, 11, mode)
    assert coded_values(stream) == 20 * 11 * len(mode)
    # A frame header in another box, or in a comment, is none.
    if kind == "jp2":
        decoy = b"\x00\x00\x00\x10free\xff\x4f\xff\x51" + bytes(4)
        assert coded_values(stream[:12] + decoy + stream[12:]) == 20 * 11 * len(mode)


@pytest.mark.parametrize("kind", _KINDS)
def test_what_is_cut_or_of_another_kind_says_nothing(kind: str) -> None:
    stream = _coded(kind, 20, 11)
    for end in range(len(stream)):
        assert coded_values(stream[:end]) in (0, 220)
    assert coded_values(stream[:12]) == coded_values(b"") == coded_values(bytes(99)) == 0


def _dicom(stream: bytes, kind: str) -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = _SYNTAX.get(kind, _JPEG2000_SYNTAX)
    file = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    file.Rows, file.Columns, file.SamplesPerPixel = 11, 20, 1
    file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit = 7
    file.PixelData = pydicom.encaps.encapsulate([stream])
    file["PixelData"].VR = "OB"
    content = io.BytesIO()
    file.save_as(content, enforce_file_format=True)
    return content.getvalue()


@pytest.mark.parametrize("kind", _KINDS)
def test_a_picture_in_dicom_that_says_too_much_is_not_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = _coded(kind, 20, 11)
    assert dicom_picture(_dicom(stream, kind)) is not None

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("pydicom.pixels.pixel_array", decoded)
    with pytest.raises(UnreadableImageError, match="larger than its header says, and than 256 MiB"):
        dicom_picture(_dicom(_stating(stream, kind, 40_000), kind))
