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
        return labelled_embeddings(Path(self.argument).expanduser(), self.config.labels)


def labelled_embeddings(path: Path, labels: str) -> Dataset:
    """Return the rows of a file, or of a folder of slides whose labels a table has.

    Raises:
        UsageError: They cannot be used; see :func:`features_file` and :func:`slide_folder`.
    """
    return slide_folder(path, labels) if holds_slides(path) else features_file(path)


SOURCE = Features
