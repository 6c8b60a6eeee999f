"""DICOM: one grey or colour picture of a file, as the extra ``dicom`` (pydicom) decodes it.

Equations: DICOM PS3.3, C.11.1 (rescale) and C.11.2 (window), read with the PS3.3 of 2024.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.budget import MOST_FILE_BYTES
from fedtl.data.coded_size import coded_values
from fedtl.data.deep_grey import DeepGrey
from fedtl.data.grey_scale import extent_of
from fedtl.errors import UnreadableImageError, first_line

_LEVELS = 255.0
_CHUNK = 2**22
# In float64, several times.
_MOST_PIXELS, _MOST_BYTES = 2**25, 2**28


def is_dicom_without_mark(data: bytes) -> bool:
    """Return whether a file is DICOM that lacks the mark at its beginning."""
    try:
        header = _read(data, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    except Exception:
        return False
    return "Rows" in header and "Columns" in header


def patient_of(data: bytes) -> str:
    """Return a file's PatientID; empty if it has none or is no DICOM."""
    try:
        header = _read(data, stop_before_pixels=True, specific_tags=["PatientID"])
    except Exception:
        return ""
    return str(header.get("PatientID", "") or "").strip()


def dicom_picture(data: bytes) -> NDArray[np.uint8] | DeepGrey:
    """Return the picture of a DICOM file, rescaled, in its own window if it has one.

    Raises:
        UnreadableImageError: It has no pixels, several frames, or a compression that no installed
            decoder reads.
    """
    try:
        file = _read(data)
        if "PixelData" not in file or "Rows" not in file:
            raise UnreadableImageError("DICOM without pixels")
        frames = int(file.get("NumberOfFrames", 1) or 1)
        if frames > 1:
            raise UnreadableImageError(
                f"DICOM volume or film of {frames} frames; save the frames to be classified as "
                "files of their own"
            )
        pixels = int(file.Rows) * int(file.Columns)
        if pixels > _MOST_PIXELS:
            raise UnreadableImageError(f"more than {_MOST_PIXELS / 1e6:.0f} million pixels")
        samples, bits = int(file.get("SamplesPerPixel", 1)), int(file.get("BitsAllocated", 8))
        if pixels * samples * bits > 8 * _MOST_BYTES:
            raise UnreadableImageError(f"more than {_MOST_BYTES >> 20} MiB of pixels")
        _check_coded(file, bits)
        stored = _stored(file)
        photometric = str(file.get("PhotometricInterpretation", "MONOCHROME2"))
        if photometric == "PALETTE COLOR":
            return _bytes_of_colour(_by_palette(stored, file), 16)
        if stored.ndim == 3:
            return _bytes_of_colour(stored, int(file.get("BitsStored", 8)))
        if int(file.get("BitsAllocated", 8)) == 1:
            stored = np.asarray(stored, np.uint8) * 255
        values = _rescaled(stored, file)
        whole = bool(np.equal(values, np.rint(values)).all())
        if whole:
            values = values.astype(np.int64)
        inverted = photometric == "MONOCHROME1"
        padding = _padding(stored, file)
        counted = values[~padding] if padding is not None and not padding.all() else values
        if padding is not None:  # black, and of no weight
            values = np.where(padding, counted.max() if inverted else counted.min(), values)
        shown = _shown(values, file)
        extent = None if shown is not None else extent_of(counted, whole=whole)
        return DeepGrey(values, whole, inverted, extent, shown)
    except (UnreadableImageError, MemoryError):
        raise
    # Broken files are met with exceptions of every kind.
    except Exception as error:
        raise UnreadableImageError(f"DICOM: {first_line(error)}") from error


def _read(data: bytes, **options: Any) -> Any:
    """Return a DICOM file's elements.

    Raises:
        UnreadableImageError: It is compressed as a whole, to more than a picture takes.
    """
    from pydicom import dcmread
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file = io.BytesIO(data)
    # Its own functions for this take a path.
    read_preamble(file, True)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _check_deflated(data[file.tell() :])
    file.seek(0)
    return dcmread(file, force=True, **options)


def _check_deflated(packed: bytes) -> None:
    """Refuse a stream that unpacks to more than a picture takes: pydicom unpacks it all."""
    stream, left = zlib.decompressobj(-zlib.MAX_WBITS), MOST_FILE_BYTES
    while packed and not stream.eof:
        left -= len(stream.decompress(packed, _CHUNK))
        packed = stream.unconsumed_tail
        if left < 0:
            raise UnreadableImageError(f"unpacks to more than {MOST_FILE_BYTES >> 20} MiB")


def _check_coded(file: Any, bits: int) -> None:
    """Refuse a compressed picture that says it is larger than any may be."""
    from pydicom.encaps import generate_frames
    from pydicom.uid import UID

    if not UID(str(file.file_meta.get("TransferSyntaxUID", ""))).is_encapsulated:
        return
    stream = next(generate_frames(file.PixelData, number_of_frames=1), b"")
    if coded_values(stream) * bits > 8 * _MOST_BYTES:
        raise UnreadableImageError(
            f"its compressed picture is larger than its header says, and than {_MOST_BYTES >> 20} "
            "MiB of pixels"
        )


def _stored(file: Any) -> NDArray[Any]:
    from pydicom.pixels import pixel_array
    from pydicom.uid import UID

    try:
        stored: NDArray[Any] = pixel_array(file)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        syntax = UID(str(getattr(file.file_meta, "TransferSyntaxUID", "")))
        if syntax.is_compressed:
            raise UnreadableImageError(
                f"DICOM compressed as {syntax.name}, which no installed decoder reads: pip install "
                "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from error
        raise
    return stored


def _rescaled(stored: NDArray[Any], file: Any) -> NDArray[np.float64]:
    """Return stored values in the units of the device: Hounsfield's, optical density."""
    from pydicom.pixels import apply_modality_lut

    rescaled: NDArray[Any] = apply_modality_lut(stored, file)
    return rescaled.astype(np.float64)


def _padding(stored: NDArray[Any], file: Any) -> NDArray[np.bool_] | None:
    """Return which pixels lie outside of what the device saw; ``None`` if the file does not say."""
    value = file.get("PixelPaddingValue")
    if value is None:
        return None
    limit = int(file.get("PixelPaddingRangeLimit", value))
    low, high = min(int(value), limit), max(int(value), limit)
    outside: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return outside if outside.any() else None


def _shown(values: NDArray[Any], file: Any) -> NDArray[np.uint8] | None:
    """Return the picture in its own window, the first of several; ``None`` if it has none."""
    if "VOILUTSequence" in file:
        from pydicom.pixels import apply_voi

        bits = int(file.VOILUTSequence[0].LUTDescriptor[2])
        table = apply_voi(values.astype(np.int64), file)
        return _levels(table / (2**bits - 1))
    centre, width = _first(file.get("WindowCenter")), _first(file.get("WindowWidth"))
    if centre is None or width is None:
        return None
    function = str(file.get("VOILUTFunction", "LINEAR") or "LINEAR")
    if function == "SIGMOID" and width > 0:
        return _levels(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT" and width > 0:
        return _levels((values - centre) / width + 0.5)
    if width < 1:
        return None
    # A window of width 1 is a threshold.
    return _levels((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5)


def _levels(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(shares.clip(0, 1) * _LEVELS).astype(np.uint8)
    return levels


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value) if isinstance(value, int | float | str) else float(value[0])


def _by_palette(stored: NDArray[Any], file: Any) -> NDArray[Any]:
    from pydicom.pixels import apply_color_lut

    coloured: NDArray[Any] = apply_color_lut(stored, file)
    return coloured if coloured.dtype == np.uint16 else coloured.astype(np.uint16) * 257


def _bytes_of_colour(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if bits > 8:
        pixels = pixels >> (bits - 8)
    return np.ascontiguousarray(pixels[:, :, :3], np.uint8)
