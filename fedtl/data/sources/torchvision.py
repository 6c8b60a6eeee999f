"""``--data torchvision:NAME``: torchvision's sets by name."""

from __future__ import annotations

from fedtl.data.dataset import Dataset
from fedtl.data.sources.base import Source


class Torchvision(Source):
    """A set of torchvision's by name: ``torchvision:CIFAR10``."""

    def open(self) -> Dataset:
        """See :class:`Source`."""
        from platformdirs import user_cache_path

        from fedtl.data.torchvision_sets import torchvision_set

        return torchvision_set(self.argument, user_cache_path("fedtl") / "torchvision")


SOURCE = Torchvision
