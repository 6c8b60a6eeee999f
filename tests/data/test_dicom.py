"""DICOM files, against pydicom's own functions and values set by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished
from numpy.typing import NDArray
from opened_data import opened

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.decoding import decode_rgb, grey_extent
from fedtl.data.grey_scale import GreyScale
from fedtl.data.sources import open_dataset
from fedtl.errors import UnreadableImageError, UsageError

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
VALUES = np.arange(256, dtype=np.int16).reshape(16, 16) * 16


def written(values: NDArray[Any] = VALUES, **tags: Any) -> bytes:
    """Return a DICOM file of grey values, explicit little-endian."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8 * values.itemsize
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    content = io.BytesIO()
    file.save_as(content, enforce_file_format=True)
    return content.getvalue()


def shades(data: bytes, scale: GreyScale | None = None) -> NDArray[np.int64]:
    rgb = decode_rgb(data, scale)
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[:, :, 0].astype(np.int64)


def found_scale(data: bytes) -> GreyScale:
    extent = grey_extent(data)
    return GreyScale.over([] if extent is None else [extent])


def test_values_are_rescaled_and_shown_on_the_scale_of_the_data() -> None:
    data = written(RescaleSlope=2, RescaleIntercept=-1024)
    scale = found_scale(data)
    assert scale.whole == (-1024, 2 * 4080 - 1024)
    assert abs(shades(data, scale) - VALUES / 4080 * 255).max() <= 0.501
    window = GreyScale.within((-160.0, 240.0))
    expected = np.clip((VALUES * 2.0 - 1024 + 160) / 400, 0, 1) * 255
    assert abs(shades(data, window) - expected).max() <= 0.501


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_files_own_window_is_what_pydicom_makes_of_it(function: str) -> None:
    from pydicom.pixels import apply_modality_lut, apply_windowing

    data = written(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[40, 300],
                   WindowWidth=[400, 1500], VOILUTFunction=function)  # fmt: skip
    assert grey_extent(data) is None
    file = pydicom.dcmread(io.BytesIO(data))
    shown = apply_windowing(apply_modality_lut(file.pixel_array, file), file)
    low, high = -32768 - 1024, 32767 - 1024  # what 16 signed bits can hold, rescaled
    assert abs(shades(data) - (shown - low) / (high - low) * 255).max() <= 0.51


def test_monochrome1_is_the_negative() -> None:
    for tags in ({}, {"WindowCenter": 2000, "WindowWidth": 1000}):
        one, two = (written(**tags, PhotometricInterpretation=f"MONOCHROME{n}") for n in (1, 2))
        scale = found_scale(two)
        assert np.array_equal(shades(one, scale), 255 - shades(two, scale))


def test_padding_does_not_widen_the_scale() -> None:
    values = VALUES.copy()
    values[0, :4] = -2000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        data = written(values, PixelPaddingValue=-2000, PhotometricInterpretation=kind)
        assert found_scale(data).whole == (0, 4095)
        picture = shades(data, found_scale(data))
        assert (picture[0, :4] == picture.min()).all()


def test_colour_is_read_and_volumes_and_plans_are_told() -> None:
    from pydicom.data import get_testdata_file

    def real(name: str) -> bytes:
        return Path(str(get_testdata_file(name))).read_bytes()

    rgb = real("SC_rgb_rle.dcm")
    expected = pydicom.dcmread(io.BytesIO(rgb)).pixel_array
    assert np.array_equal(decode_rgb(rgb), expected)
    ct = real("CT_small.dcm")
    extent = grey_extent(ct)
    assert extent is not None and (extent.low, extent.high) == (-896, 1167)
    with pytest.raises(UnreadableImageError, match="volume or film of 2 frames"):
        decode_rgb(real("SC_rgb_rle_2frame.dcm"))
    with pytest.raises(UnreadableImageError, match="DICOM without pixels"):
        decode_rgb(real("rtplan.dcm"))
    with pytest.raises(UnreadableImageError, match=r"compressed as JPEG-LS .* pip install"):
        decode_rgb(real("MR_small_jpeg_ls_lossless.dcm"))


def patients(root: Path, *sites: str) -> Path:
    """Write 4 patients of 4 pictures, each of both classes, that a bright square tells apart."""
    rng = np.random.default_rng(0)
    for site in sites or ("",):
        for patient in range(4):
            for number in range(4):
                values = rng.integers(900, 1100, (24, 24)).astype(np.int16)
                values[6:18, 6:18] += 600 * (number % 2)
                folder = root / site / ("bright" if number % 2 else "dim")
                folder.mkdir(parents=True, exist_ok=True)
                tags = {"PatientID": f"SECRET-{patient}", "RescaleSlope": 1,
                        "RescaleIntercept": -1024}  # fmt: skip
                (folder / f"{patient}-{number}.dcm").write_bytes(written(values, **tags))
    return root


def grouped(path: Path) -> Dataset:
    return open_dataset(RunConfig(data=str(path), group_from="PatientID"))


def test_the_patient_is_the_group_and_its_id_stays(tmp_path: Path) -> None:
    data = grouped(patients(tmp_path / "one"))
    assert data.groups is not None
    assert sorted(set(data.groups)) == [f"patient {n}" for n in range(1, 5)]
    for key, group in zip(data.keys, data.groups, strict=True):
        assert group == f"patient {int(key.split('/')[1][0]) + 1}"
    two = grouped(patients(tmp_path / "two", "bern", "york"))
    assert two.groups is not None and len(set(two.groups)) == 8
    assert any("--group-from PatientID" in note for note in opened(tmp_path / "one").notes)
    (tmp_path / "one" / "dim" / "x.dcm").write_bytes(written())
    with pytest.raises(UsageError, match=r"1 of 17 files have none, first dim/x.dcm"):
        grouped(tmp_path / "one")


def test_a_run_on_dicom_keeps_its_patients_to_itself(tmp_path: Path) -> None:
    root, out = patients(tmp_path / "data", "bern", "york"), tmp_path / "run"
    end = finished(
        simulate.main, "--data", root, "--partition", "natural", "--group-from", "PatientID",
        "--strategy", "fed3r", "--engine", "inline", "--no-cache", "--out", out,
        "--test-fraction", 0,
    )  # fmt: skip
    assert end.exit_code == 0, end.stderr
    assert json.loads((out / "summary.json").read_text())["federated"]["accuracy"] == 1
    for path in out.rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes()
    assert "SECRET" not in end.stderr + end.stdout


def test_heic_is_read_with_its_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    from PIL import Image

    heif.register_heif_opener()
    for label, shade in (("a", 40), ("b", 200)):
        (tmp_path / label).mkdir()
        for number in range(2):
            picture = Image.new("RGB", (64, 48), (shade, shade, shade))
            picture.save(tmp_path / label / f"IMG_{number}.HEIC")
    data = opened(tmp_path)
    assert data.left_aside == () and len(data) == 4
    for row, shade in enumerate((40, 40, 200, 200)):
        picture = data.inputs.load(row)  # type: ignore[union-attr]
        assert picture.shape == (48, 64, 3) and abs(picture.astype(int) - shade).max() <= 3
