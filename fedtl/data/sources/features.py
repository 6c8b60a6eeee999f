"""``--data features:FILE``: rows of a file of embeddings, .npz or Parquet."""

from __future__ import annotations

from pathlib import Path

from fedtl.data.dataset import Dataset
from fedtl.data.features_file import features_file
from fedtl.data.slide_folder import holds_slides, slide_folder
from fedtl.data.sources.base import Source


class Features(Source):
    """Precomputed features: ``features:FILE.npz``, Parquet, or a folder of slides in HDF5."""

    def open(self) -> Dataset:
        """See :class:`Source`."""
        path = Path(self.argument).expanduser()
        if holds_slides(path):
            return slide_folder(path, self.config.labels)
        return features_file(path)


SOURCE = Features
