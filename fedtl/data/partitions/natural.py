"""A client for each site that the data names."""

from __future__ import annotations

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.groups import parted_group
from fedtl.data.partitions.base import Partition, Rows
from fedtl.errors import UsageError


class Natural(Partition):
    """A client for each site that has training rows."""

    def parts(self, dataset: Dataset) -> tuple[list[Rows], list[str]]:
        """See :class:`Partition`."""
        training = dataset.training
        if dataset.sites is None:
            raise UsageError(
                f"--partition natural needs to know each input's site, but {dataset.name} has no "
                "sites; arrange images as site/class/file, give a table or embeddings a site, or "
                "choose another partition"
            )
        names, site = np.unique(dataset.sites[training], return_inverse=True)
        if dataset.groups is not None:
            groups = dataset.groups[training]
            parted = parted_group(groups, site)
            if parted is not None:
                first = int(np.argmax(groups == groups[parted]))
                raise UsageError(
                    f"--partition natural would part group {groups[parted]}, which has rows at "
                    f"{names[site[first]]} and at {names[site[parted]]}; if these are two that "
                    "share a name, let the group's name hold the site (--group-from "
                    "'*/patient_*'), or else choose another partition"
                )
        grouped = training[np.argsort(site, kind="stable")]
        starts = np.cumsum(np.bincount(site, minlength=len(names)))[:-1]
        return np.split(grouped, starts), [str(name) for name in names]


PARTITION = Natural
