"""What is told of the limits of grey values, and what does not widen them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from written_tiff import tiff

from fedtl.data.decoding import decode_rgb, grey_extent
from fedtl.data.grey_scale import GreyScale, extent_of
from fedtl.errors import UnreadableImageError

RAMP = np.arange(0, 4096, 16).reshape(16, 16)


def scale_of(*pictures: NDArray[np.int64]) -> GreyScale:
    return GreyScale.over(extent_of(picture, whole=True) for picture in pictures)


def with_a_pixel(value: int) -> NDArray[np.int64]:
    picture = RAMP.copy()
    picture[3, 3] = value
    return picture


@pytest.mark.parametrize(("signed", "value"), [(0, 65535), (2048, 30000), (2048, -32768)])
def test_a_stray_pixel_in_one_picture_of_twenty_makes_none_dark(signed: int, value: int) -> None:
    usual = RAMP - signed
    scale = scale_of(*[usual] * 19, with_a_pixel(value) - (signed if value > 0 else 0))
    assert scale.whole == ((-2048, 2032) if signed else (0, 4095))
    assert "; 1 with values far beyond is cut there; --grey-range" in scale.note
    levels = scale.levels(with_a_pixel(value), whole=True)
    assert levels[3, 3] == (255 if value > 0 else 0)
    assert scale_of(*[usual] * 18, with_a_pixel(value)).whole != scale.whole, "one in 19 counts"


def test_two_more_bits_are_far_and_one_is_not() -> None:
    assert scale_of(*[RAMP] * 30, RAMP * 2).whole == (0, 8191)
    assert scale_of(*[RAMP] * 30, RAMP * 5).whole == (0, 4095)
    assert scale_of(*[RAMP * 0] * 30, RAMP).whole == (0, 4095), "black pictures set no limits"


def test_the_limits_are_told_with_the_option_that_sets_them() -> None:
    assert scale_of(RAMP, RAMP).note == (
        "grey values of more than 8 bits (2 pictures): 0 is black and 4095 white; --grey-range "
        "LOW HIGH, or --window, sets it"
    )
    assert GreyScale.over([]).note == "" == GreyScale.within((0, 1)).note


def test_limits_that_leave_pictures_dark_or_bright_are_told() -> None:
    dark = scale_of(*[with_a_pixel(65535)] * 3, RAMP * 16)
    assert dark.whole == (0, 65535) and "; 3 are nearly all dark on that scale;" in dark.note
    bright = scale_of(with_a_pixel(-32768))
    assert "; 1 is nearly all bright on that scale;" in bright.note
    few = scale_of(*[RAMP * 16] * 4, RAMP)
    assert "nearly" not in few.note


def test_infinities_are_the_ends_of_the_scale() -> None:
    values = np.array([[np.nan, -np.inf, np.inf, 0.5]], np.float32)
    levels = decode_rgb(tiff(values), GreyScale(real=(0.0, 1.0)))[:, :, 0]
    assert levels.tolist() == [[0, 0, 255, 128]]


def test_a_pgm_whose_white_is_what_16_bits_hold_has_the_depth_of_the_data() -> None:
    data = b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes()
    extent = grey_extent(data)
    assert extent is not None and extent.high == 4080
    levels = decode_rgb(data, GreyScale.over([extent]))[:, :, 0].astype(np.int64)
    assert abs(levels - RAMP * 255 / 4095).max() <= 0.501


def test_colour_in_deep_planes_is_refused_and_shallow_ones_are_read() -> None:
    colour = np.stack([RAMP.astype(np.uint16) * 16] * 3, axis=2)
    with pytest.raises(UnreadableImageError, match="16-bit colour in separate planes"):
        decode_rgb(tiff(colour, 2, planes=True))
    shallow = (colour >> 8).astype(np.uint8)
    assert np.array_equal(decode_rgb(tiff(shallow, 2, planes=True)), shallow)
    assert np.array_equal(decode_rgb(tiff(colour, 2)), shallow)


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.float32), (5, np.uint8), (2, np.uint16)])
def test_channels_that_pillow_does_not_read_are_told(channels: int, dtype: type) -> None:
    values = np.stack([RAMP.astype(dtype)] * channels, axis=2)
    with pytest.raises(UnreadableImageError, match=f"TIFF of {channels} channels .* as 8-bit RGB"):
        decode_rgb(tiff(values))


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i2", ">i2"])
def test_large_pictures_get_the_levels_of_small_ones(kind: str) -> None:
    values = np.arange(1 << 16).astype(np.uint16).view(kind[1:]).astype(kind).reshape(256, 256)
    scale = GreyScale.within((-300.0, 5000.0))
    parts = [scale.levels(row[None], whole=True) for row in values]
    assert np.array_equal(scale.levels(values, whole=True), np.concatenate(parts))
    shares = (np.clip(values.astype(np.float64), -300, 5000) + 300) / 5300
    assert abs(np.concatenate(parts) - 255 * shares).max() <= 0.5001


def test_sixteen_bits_of_signed_pixels_are_a_range_only_if_somebody_says_so() -> None:
    signed = np.array([[-1, 65535]], np.int32)
    with pytest.raises(UnreadableImageError, match="signed pixels have no fixed range"):
        GreyScale().levels(signed, whole=True)
    asked = GreyScale.within((0.0, 65535.0))
    assert asked.levels(signed, whole=True).tolist() == [[0, 255]]
