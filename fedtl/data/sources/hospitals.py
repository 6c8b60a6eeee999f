"""``--data hospitals``: rendered blood smears, the default."""

from __future__ import annotations

from fedtl.data.dataset import Dataset
from fedtl.data.hospitals import HospitalsOptions, SiteShift, hospitals_dataset
from fedtl.data.sources.base import Source
from fedtl.options import Integer, Number, Option, Options


def _effect(what: str) -> Option:
    """Return the option of one effect that rendered sites differ in."""
    return Number(1.0, f"Times hospitals-shift, for the {what}.", low=0.0, high=5.0)


class Hospitals(Source):
    """Blood smears of imaginary hospitals, eight kinds of white cell, rendered from the seed."""

    options = Options(
        "hospitals",
        images=Integer(4000, "Rendered training images (hospitals).", low=16, high=10_000_000),
        test_images=Integer(
            1000, "Rendered global test images (hospitals).", low=0, high=10_000_000
        ),
        sites=Integer(
            0,
            "Rendered sites (hospitals); 0 is 5, or one per client if partition = auto.",
            low=0,
            high=10_000,
        ),
        size=Integer(64, "Rendered image side in pixels.", low=16, high=1024),
        shift=Number(1.0, "Strength of the difference between rendered sites.", low=0.0, high=5.0),
        stain=_effect("hue and strength of the stain"),
        illumination=_effect("colour and gradient of the light"),
        focus=_effect("blur"),
        noise=_effect("noise of the camera"),
        jpeg=_effect("loss by compression"),
        magnification=_effect("size of the cells"),
        prevalence=_effect("frequency of the classes"),
        label_noise=Number(
            0.0, "Fraction of wrong training labels (hospitals).", low=0.0, high=0.9
        ),
    )

    def open(self) -> Dataset:
        """See :class:`Source`."""
        given = self.options
        effects = SiteShift(
            stain=given.stain,
            illumination=given.illumination,
            focus=given.focus,
            noise=given.noise,
            jpeg=given.jpeg,
            magnification=given.magnification,
            prevalence=given.prevalence,
        )
        options = HospitalsOptions(
            images=given.images,
            test_images=given.test_images,
            sites=max(1, given.sites),
            size=given.size,
            shift=effects.times(given.shift),
            label_noise=given.label_noise,
        )
        return hospitals_dataset(self.config.inputs_seed, options)


SOURCE = Hospitals
