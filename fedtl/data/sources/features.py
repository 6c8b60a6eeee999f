"""``--data features:FILE``: rows of a file of embeddings, .npz or Parquet."""

from __future__ import annotations

from pathlib import Path

from fedtl.data.dataset import Dataset
from fedtl.data.features_file import features_file
from fedtl.data.sources.base import Source


class Features(Source):
    """Precomputed features from a .npz or Parquet file: ``features:FILE.npz``."""

    def open(self) -> Dataset:
        """See :class:`Source`."""
        return features_file(Path(self.argument).expanduser())


SOURCE = Features
