"""Grey values of more than 8 bits: from which to which the screen's 256 levels reach.

A detector of 12 bits writes 0 to 4095 into files of 16, computed tomography writes negative
numbers, and others write fractions. What is black and what is white is then the data set's, fixed
once over all of its files, and not a picture's own: two pictures stay comparable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.errors import UnreadableImageError

Limits = tuple[float, float]

_SIXTEEN_BITS: Limits = (0.0, 65535.0)
_FEWEST_BITS = 8
_LEVELS = 255
_PIXELS_AT_ONCE = 1 << 20
_VALUES_OF_16_BITS = 1 << 16
# One picture in so many may reach much further than all others, by a dead pixel or a mark, without
# making the others dark.
_PICTURES_PER_STRAY, _MUCH_FURTHER = 20, 4
_SAMPLED_PIXELS = 4096
_NARROW = 1 / 8


@dataclass(frozen=True)
class Extent:
    """How far a picture's grey values reach.

    Attributes:
        whole: Whether its values are whole numbers.
        low: The smallest.
        high: The largest.
        middle: Half of the pixels lie below it.
        most: Of a hundred pixels, 99 lie below it.
    """

    whole: bool
    low: float
    high: float
    middle: float
    most: float


@dataclass(frozen=True)
class GreyScale:
    """What is shown as black and what as white.

    Attributes:
        whole: Of pictures of whole numbers.
        real: Of pictures of fractions; ``None`` if that is not known.
        asked: Whether a person set it, so that it comes before a file's own window.
        note: What to tell the user about how it was found; empty if nothing.
    """

    whole: Limits = _SIXTEEN_BITS
    real: Limits | None = None
    asked: bool = False
    note: str = field(default="", compare=False)

    @classmethod
    def within(cls, limits: Limits) -> GreyScale:
        """Return the scale that a person asked for."""
        return cls(limits, limits, asked=True)

    @classmethod
    def over(cls, extents: Iterable[Extent]) -> GreyScale:
        """Return the scale of a data set, from its pictures' smallest and largest values.

        Whole numbers from 0 on reach to the largest number of as many bits as the largest value
        has, of 8 at least; whole numbers below 0, from the smallest to the largest value.
        Fractions reach from 0 to 1 if they lie there, and else from the smallest to the largest.
        One picture in twenty does not count if it reaches at least four times further than others.
        """
        kept = list(extents)
        wholes = [extent for extent in kept if extent.whole]
        reals = [extent for extent in kept if not extent.whole]
        whole: Limits = _SIXTEEN_BITS
        real: Limits | None = None
        if found := _united(wholes):
            bits = max(_FEWEST_BITS, int(found[1]).bit_length())
            whole = (0.0, float(2**bits - 1)) if found[0] >= 0 else found
        if found := _united(reals):
            real = (0.0, 1.0) if found[0] >= 0 and found[1] <= 1 else found
        notes = [_note(whole, wholes)] if wholes else []
        notes += [_note(real, reals)] if real is not None else []
        return cls(whole, real, note="; ".join(notes))

    @classmethod
    def of_mapping(cls, facts: Mapping[str, Any] | None) -> GreyScale:
        """Return the scale that :meth:`to_mapping` told; the plain one for ``None``."""
        if facts is None:
            return cls()
        whole, real = facts["whole"], facts["fractions"]
        return cls(
            (float(whole[0]), float(whole[1])),
            None if real is None else (float(real[0]), float(real[1])),
            bool(facts["asked"]),
        )

    def to_mapping(self) -> dict[str, Any] | None:
        """Return the scale as JSON can hold it; ``None`` for the plain one, 16 bits."""
        if self == GreyScale():
            return None
        real = None if self.real is None else list(self.real)
        return {"whole": list(self.whole), "fractions": real, "asked": self.asked}

    @property
    def tag(self) -> bytes:
        """What tells it from other scales in a picture's digest; empty for the plain one."""
        facts = self.to_mapping()
        return b"" if facts is None else json.dumps(facts, sort_keys=True).encode()

    @property
    def told(self) -> str:
        """The limits in words, as ``grey-range`` takes them."""
        limits = self.whole if self.whole != _SIXTEEN_BITS or self.real is None else self.real
        return f"{limits[0]:.10g} {limits[1]:.10g}"

    def levels(self, grey: NDArray[Any], *, whole: bool) -> NDArray[np.uint8]:
        """Return grey values as levels of 8 bits, values beyond the limits as black or white.

        Args:
            grey: Shape ``(height, width)``; values that are no numbers become black.
            whole: Whether the values are whole numbers.

        Raises:
            UnreadableImageError: The limits are not known.
        """
        limits = self.whole if whole else self.real
        if limits is None:
            raise UnreadableImageError(
                "floating-point pixels have no fixed range; say it with grey-range"
            )
        low, high = limits
        if limits == _SIXTEEN_BITS and not self.asked and whole and grey.min(initial=0) < 0:
            raise UnreadableImageError("signed pixels have no fixed range; say it with grey-range")
        if grey.dtype.kind in "iu" and grey.dtype.itemsize == 2 and grey.size >= _VALUES_OF_16_BITS:
            # Each value is scaled once; as unsigned, negative ones come last.
            kind = grey.dtype.newbyteorder("=")
            values = np.arange(_VALUES_OF_16_BITS, dtype=np.uint16).view(kind)
            table = _scaled(values, low, high).astype(np.uint8)
            return np.take(table, grey.astype(kind, copy=False).view(np.uint16))
        levels = np.empty(grey.shape, np.uint8)
        step = max(1, _PIXELS_AT_ONCE // max(1, grey.shape[1]))
        for start in range(0, len(grey), step):
            levels[start : start + step] = _scaled(grey[start : start + step], low, high)
        return levels


def _scaled(grey: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    part = grey.astype(np.float64)
    part = np.where(np.isnan(part), low, part.clip(low, high))
    scaled: NDArray[np.float64] = np.rint((part - low) * (_LEVELS / (high - low)))
    return scaled


def extent_of(grey: NDArray[Any], *, whole: bool) -> Extent:
    """Return a picture's smallest and largest finite value.

    Raises:
        UnreadableImageError: No value is finite.
    """
    finite = grey if grey.dtype.kind in "iub" else grey[np.isfinite(grey)]
    if not finite.size:
        raise UnreadableImageError("no pixel is a finite number")
    sample = finite.ravel()[:: max(1, finite.size // _SAMPLED_PIXELS)]
    middle, most = map(float, np.percentile(sample, (50, 99)))
    return Extent(whole, float(finite.min()), float(finite.max()), middle, most)


def _united(extents: Sequence[Extent]) -> Limits | None:
    if not extents:
        return None
    lows, highs = sorted(each.low for each in extents), sorted(each.high for each in extents)
    low, high = lows[0], highs[-1]
    if strays := len(extents) // _PICTURES_PER_STRAY:
        usual_low, usual_high = min(lows[strays], max(low, 0.0)), highs[-1 - strays]
        if 0 < _MUCH_FURTHER * (usual_high - usual_low) <= high - min(low, usual_low):
            low, high = usual_low, usual_high
    # All of one value: any limits that are not equal show it.
    return (low, high if high > low else low + 1.0)


def _note(limits: Limits, extents: Sequence[Extent]) -> str:
    """Return what a person should know of limits that were found in pictures."""
    low, high = limits
    count = f"{len(extents):,} {'picture' if len(extents) == 1 else 'pictures'}"
    told = f"grey values of more than 8 bits ({count}): {low:.10g} is black and {high:.10g} white"
    edge = _NARROW * (high - low)
    beyond = sum(each.low < low or each.high > high for each in extents)
    dark = sum(each.most < low + edge for each in extents)
    bright = sum(each.middle > high - edge for each in extents)
    if beyond:
        told += f"; {beyond:,} with values far beyond {'is' if beyond == 1 else 'are'} cut there"
    # A picture may well be dark; that many are says more of the limits than of the pictures.
    for share, how in ((dark, "dark"), (bright, "bright")):
        if 4 * share >= len(extents):
            told += f"; {share:,} {'is' if share == 1 else 'are'} nearly all {how} on that scale"
    return f"{told}; --grey-range LOW HIGH, or --window, sets it"
