"""Equal random parts."""

from __future__ import annotations

import numpy as np

from fedtl.data.partitions.base import Partition, Rows, Units


class Iid(Partition):
    """Equal random parts."""

    def deal(self, units: Units) -> list[Rows]:
        """See :class:`Partition`."""
        return np.array_split(np.arange(len(units.labels)), self.config.clients)


PARTITION = Iid
