"""``--data medmnist:NAME``: MedMNIST's sets, by name or from a file."""

from __future__ import annotations

from fedtl.data.dataset import Dataset
from fedtl.data.medmnist_sets import medmnist_set
from fedtl.data.sources.base import Source


class MedMNIST(Source):
    """A set of MedMNIST, by name or from a file: ``medmnist:bloodmnist``, ``medmnist:FILE.npz``."""

    def open(self) -> Dataset:
        """See :class:`Source`."""
        return medmnist_set(self.argument)


SOURCE = MedMNIST
