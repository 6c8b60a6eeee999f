"""Grey values of more than 8 bits: one scale for a data set, kept with the head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished
from numpy.typing import NDArray
from opened_data import encoded, opened
from PIL import Image
from written_tiff import tiff

from fedtl import predict, simulate
from fedtl.config import RunConfig
from fedtl.data.decoding import decode_rgb, grey_extent
from fedtl.data.grey_scale import Extent, GreyScale
from fedtl.data.grey_scanning import on_one_scale
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.transfer.head_file import read_head


def shades(data: bytes, scale: GreyScale | None = None) -> NDArray[np.int64]:
    rgb = decode_rgb(data, scale)
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[:, :, 0].astype(np.int64)


RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def found_scale(*pictures: bytes) -> GreyScale:
    return GreyScale.over(filter(None, map(grey_extent, pictures)))


@pytest.mark.parametrize("depth", range(9, 17))
def test_the_depth_is_that_of_the_largest_value(depth: int) -> None:
    values = (np.arange(256) << (depth - 8)).astype(np.uint16).reshape(16, 16)
    for data in (encoded(Image.fromarray(values)), tiff(values)):
        scale = found_scale(data)
        assert scale == GreyScale((0, 2**depth - 1))
        # As if the low bits had been cut off, but for rounding.
        assert abs(shades(data, scale) - np.arange(256).reshape(16, 16)).max() <= 1


def test_one_bright_file_settles_the_scale_of_all(tmp_path: Path) -> None:
    for name, factor in [("a/1", 1), ("a/2", 1), ("b/1", 1), ("b/2", 16)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(encoded(Image.fromarray(RAMP // 16 * factor)))
    images = opened(tmp_path).inputs
    assert not isinstance(images, np.ndarray)
    scaled, scale = on_one_scale(images, None)
    assert scale.whole == (0, 4095)
    dim, bright = scaled.load(0)[:, :, 0], scaled.load(3)[:, :, 0]
    assert (dim.max(), bright.max()) == (16, 254)
    assert scaled.digest(0) != images.digest(0)
    subset, _ = on_one_scale(opened(tmp_path).subset(np.array([3, 0])).inputs, None)  # type: ignore[arg-type]
    assert np.array_equal(subset.load(1)[:, :, 0], dim)


def test_pictures_of_eight_bits_keep_digest_and_pixels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.bmp", "3.tif", "4.jpg"):
        Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a" / name)
    (tmp_path / "b").mkdir()
    for name in ("1.gif", "2.webp"):
        Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "b" / name)
    images = opened(tmp_path).inputs
    assert not isinstance(images, np.ndarray)
    scaled, scale = on_one_scale(images, None)
    assert scale == GreyScale()
    assert [scaled.digest(row) for row in range(6)] == [images.digest(row) for row in range(6)]


SIGNED = RAMP.astype(np.int32) - 1024


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (SIGNED, (-1024, 3056)),
        (SIGNED.astype(np.int16), (-1024, 3056)),
        ((RAMP / 16 - 100).astype(np.int8), (-100, 127)),
        (RAMP.astype(np.float32) - 0.5, (-0.5, 4079.5)),
        ((RAMP / 4095).astype(np.float32), (0, 1)),
        (RAMP.astype(np.int32), (0, 4095)),
    ],
)
def test_signed_and_floating_point_pixels(
    values: NDArray[Any], limits: tuple[float, float]
) -> None:
    if values.dtype == np.int8:
        values = np.clip(RAMP.astype(np.int64) // 16 - 100, -100, 127).astype(np.int8)
    data = tiff(values)
    extent = grey_extent(data)
    assert extent is not None and (extent.low, extent.high) == (values.min(), values.max())
    scale = found_scale(data)
    assert (scale.whole if extent.whole else scale.real) == limits
    share = (values.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
    assert abs(shades(data, scale) - 255 * share).max() <= 0.5001
    asked = GreyScale.within((-100.0, 300.0))
    expected = np.clip((values.astype(np.float64) + 100) / 400, 0, 1)
    assert abs(shades(data, asked) - 255 * expected).max() <= 0.5001


@pytest.mark.parametrize(
    "values",
    [
        RAMP,
        SIGNED,
        SIGNED.astype(np.int16),
        (RAMP / 4095).astype(np.float32),
        RAMP.astype(np.uint32) << 20,
        (RAMP // 16).astype(np.uint8),
        (RAMP // 16 - 128).astype(np.int8),
    ],
)
def test_white_is_zero(values: NDArray[Any]) -> None:
    scale = found_scale(tiff(values))
    assert shades(tiff(values), scale).max() > 250
    assert np.array_equal(shades(tiff(values, 0), scale), 255 - shades(tiff(values), scale))


def test_pixels_that_are_no_numbers_are_black() -> None:
    values = (RAMP / 4095).astype(np.float32)
    values[0] = np.nan
    values[1, 0] = np.inf
    scale = found_scale(tiff(values))
    assert scale.real == (0, 1) and not shades(tiff(values), scale)[0].any()
    with pytest.raises(UnreadableImageError, match="no pixel is a finite number"):
        grey_extent(tiff(np.full((4, 4), np.nan, np.float32)))


def test_pixels_that_pillow_does_not_read_are_told() -> None:
    with pytest.raises(UnreadableImageError, match="TIFF of 64-bit floating-point pixels"):
        decode_rgb(tiff(RAMP.astype(np.float64)))


def test_a_pgm_says_itself_what_is_white() -> None:
    data = b"P5 16 16 1000\n" + (np.arange(256) * 3).astype(">u2").tobytes()
    assert grey_extent(data) is None
    assert abs(shades(data).ravel() - np.arange(256) * 3 * 255 / 1000).max() <= 0.51


def test_a_picture_of_one_value_has_a_scale() -> None:
    flat = tiff(np.full((4, 4), -7, np.int16))
    assert not shades(flat, found_scale(flat)).any()


def test_a_scale_survives_its_head_file() -> None:
    for scale in (GreyScale(), GreyScale((0, 4095)), GreyScale.within((-160.0, 240.0))):
        assert GreyScale.of_mapping(json.loads(json.dumps(scale.to_mapping()))) == scale
    assert GreyScale().tag == b""
    tags = {scale.tag for scale in (GreyScale((0, 4095)), GreyScale((0, 1023)),
                                    GreyScale.over([Extent(False, 0, 9, 4, 9)]))}  # fmt: skip
    assert len(tags) == 3


# Whole runs


def detector(root: Path, kind: str) -> Path:
    """Write pictures of a 12-bit detector whose two classes differ by 2 % of its range."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 10)):
        for label, size in (("disc", 11), ("point", 4)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                shape = np.hypot(*(np.indices((32, 32)) - rng.uniform(14, 18, (2, 1, 1)))) < size
                grey = np.rint(rng.uniform(1900, 2100) + 96 * shape + rng.normal(0, 8, (32, 32)))
                content = {
                    "twelve": encoded(Image.fromarray(grey.astype(np.uint16))),
                    "eight": encoded(Image.fromarray((grey // 16).astype(np.uint8))),
                    "hounsfield": tiff((grey - 2524).astype(np.int16)),
                }[kind]
                suffix = "tif" if kind == "hounsfield" else "png"
                (folder / f"{number}.{suffix}").write_bytes(content)
    return root


def run(data: Path, out: Path, *flags: object) -> Path:
    end = finished(
        simulate.main, "--data", data, "--strategy", "fed3r", "--clients", 2, "--engine", "inline",
        "--partition", "iid", "--cache", out.parent / "cache", "--out", out, *flags,
    )  # fmt: skip
    assert end.exit_code == 0, end.stderr
    return out


def accuracy(out: Path) -> float:
    scores = json.loads((out / "summary.json").read_text())["on_new_data"]
    return float(scores["federated"]["accuracy"] if isinstance(scores["federated"], dict)
                 else scores["federated"])  # fmt: skip


@pytest.mark.parametrize("kind", ["twelve", "hounsfield"])
def test_deep_pictures_are_as_good_as_shallow_ones_and_predicted_alike(
    kind: str, tmp_path: Path
) -> None:
    shallow = run(detector(tmp_path / "eight", "eight"), tmp_path / "shallow")
    deep = run(detector(tmp_path / kind, kind), tmp_path / "deep")
    assert accuracy(deep) >= accuracy(shallow) - 0.02 > 0.9
    scale = read_head(deep / "head.safetensors").scale
    assert scale.whole == (0, 4095) if kind == "twelve" else scale.whole[0] < 0
    assert read_head(shallow / "head.safetensors").scale == GreyScale()
    pictures = sorted((tmp_path / kind / "test").rglob("*.*"))
    end = finished(predict.main, deep, *pictures, "--json")
    assert end.exit_code == 0, end.stderr
    answers = json.loads(end.stdout)
    right = [
        path.parent.name == answer["predicted"]
        for path, answer in zip(pictures, answers, strict=True)
    ]
    assert np.mean(right) == accuracy(deep)
    dark = finished(predict.main, deep, *pictures, "--json", "--grey-range", "9000", "60000")
    assert dark.exit_code == 0 and json.loads(dark.stdout) != answers
    end = finished(predict.main, deep, "--score", "--json", tmp_path / kind / "test")
    assert end.exit_code == 0, end.stderr
    assert json.loads(end.stdout)["accuracy"] == accuracy(deep)


def test_another_range_is_another_set_of_features(tmp_path: Path) -> None:
    data = detector(tmp_path / "data", "twelve")
    heads = {
        name: json.loads((run(data, tmp_path / name, *flags) / "summary.json").read_text())
        for name, flags in {
            "found": (),
            "same": ("--grey-range", 0, 4095),
            "narrow": ("--grey-range", 1800, 2300),
            "window": ("--window", 2050, 500),
            "again": (),
        }.items()
    }
    sha = {name: summary["head_sha256"] for name, summary in heads.items()}
    assert sha["found"] == sha["same"] == sha["again"]
    assert sha["narrow"] == sha["window"] != sha["found"]


def test_a_site_alone_cannot_say_what_is_white_for_all(tmp_path: Path) -> None:
    config = RunConfig(data=str(detector(tmp_path / "data", "twelve")), no_cache=True)
    said = "values reach from 0 to 4095, and all sites .* set grey-range = '0 4095'"
    with pytest.raises(UsageError, match=said):
        prepare_inputs(config, open_data(config, own=True), None, everybody=False)
    told = config.replace(grey_range="0 4095")
    inputs = prepare_inputs(told, open_data(told, own=True), None, everybody=False)
    assert inputs.scale.asked


def test_with_a_range_each_site_alone_sees_what_a_simulation_sees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for site, depth in (("bern", 4096), ("york", 65536)):
        for label in ("a", "b"):
            (tmp_path / site / label).mkdir(parents=True)
            for number in range(3):
                grey = rng.integers(0, depth, (32, 32), dtype=np.uint16)
                Image.fromarray(grey).save(tmp_path / site / label / f"{number}.png")
    together = RunConfig(data=str(tmp_path), grey_range="0 4095", no_cache=True)
    every = prepare_inputs(together, open_data(together), None)
    assert every.dataset.sites is not None and every.notes == ()
    for site in ("bern", "york"):
        config = together.replace(data=str(tmp_path / site))
        own = prepare_inputs(config, open_data(config, own=True), None, everybody=False)
        rows = np.flatnonzero(every.dataset.sites == site)
        expected = every.features.tensor()[rows]
        assert own.scale == every.scale and own.fingerprint == every.fingerprint
        assert own.features.tensor().equal(expected)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"grey_range": "5"}, "not two numbers, LOW HIGH"),
        ({"grey_range": "5 x"}, "not two numbers, LOW HIGH"),
        ({"grey_range": "5 nan"}, "not two numbers, LOW HIGH"),
        ({"grey_range": "5 5"}, "LOW must be below HIGH"),
        ({"window": "40 0"}, "the width must be above 0"),
        ({"window": "40 400", "grey_range": "0 4095"}, "leave one of them out"),
    ],
)
def test_ranges_that_say_nothing_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunConfig(**keys)
    assert RunConfig(window="40 400").grey_limits == (-160, 240)
    assert RunConfig(grey_range="-1024, 3071").grey_limits == (-1024, 3071)
