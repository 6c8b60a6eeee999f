"""What can be chosen of the rendered data set: its size, how far its sites differ, wrong labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fedtl.errors import UsageError

# The overall strength and an effect's own are at most 5 each.
_STRONGEST = 25.0

_LIMITS: Mapping[str, tuple[float, float]] = {
    "images": (16, 10_000_000),
    "test_images": (0, 10_000_000),
    "sites": (1, 10_000),
    "size": (16, 1024),
    "label_noise": (0, 0.9),
}


@dataclass(frozen=True)
class SiteShift:
    """How far sites differ, effect by effect: 0 not at all, 1 as hospitals do.

    Attributes:
        stain: Hue and strength of the dyes, in optical density.
        illumination: Colour of the lamp, and the gradient of its light over the field.
        focus: Blur of the optics.
        noise: Noise of the camera.
        jpeg: Loss of the files' compression; at 0 no site compresses at all.
        magnification: Scale of the cells.
        prevalence: Frequencies of the cell types, and how many pictures a site has.

    Raises:
        UsageError: A strength is out of range.
    """

    stain: float = 1.0
    illumination: float = 1.0
    focus: float = 1.0
    noise: float = 1.0
    jpeg: float = 1.0
    magnification: float = 1.0
    prevalence: float = 1.0

    def __post_init__(self) -> None:
        _check(self, dict.fromkeys((effect.name for effect in fields(self)), (0.0, _STRONGEST)))

    def times(self, strength: float) -> SiteShift:
        """Return every effect multiplied by ``strength``."""
        return replace(
            self, **{effect.name: strength * getattr(self, effect.name) for effect in fields(self)}
        )


@dataclass(frozen=True)
class HospitalsOptions:
    """Size and difficulty of the rendered data set.

    Attributes:
        images: Number of training pictures.
        test_images: Number of test pictures; they come from all sites.
        sites: Number of hospitals.
        size: Width and height in pixels.
        shift: How far the sites differ.
        label_noise: Fraction of the training labels that name another cell type than is drawn.

    Raises:
        UsageError: A value is out of range.
    """

    images: int = 4000
    test_images: int = 1000
    sites: int = 5
    size: int = 64
    shift: SiteShift = field(default_factory=SiteShift)
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        _check(self, _LIMITS)


def _check(options: Any, limits: Mapping[str, tuple[float, float]]) -> None:
    for key, (low, high) in limits.items():
        value = getattr(options, key)
        if not low <= value <= high:
            name = key.replace("_", "-")
            raise UsageError(f"hospitals: {name} is {value}, but must be from {low:g} to {high:g}")
