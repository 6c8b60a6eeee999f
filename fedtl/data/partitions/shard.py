"""Rows sorted by class, cut into equal shards."""

from __future__ import annotations

import numpy as np

from fedtl.data.partitions.base import Partition, Rows, Units, owned
from fedtl.determinism import derived_seed
from fedtl.errors import UsageError
from fedtl.options import Integer, Options


class Shard(Partition):
    """Rows sorted by class are cut into equal shards (McMahan et al., arXiv 1602.05629)."""

    options = Options(
        shards_per_client=Integer(2, "Shards a client gets (shard).", low=1, high=1_000_000)
    )

    def deal(self, units: Units) -> list[Rows]:
        """See :class:`Partition`."""
        rows, clients, each = len(units.labels), self.config.clients, self.options.shards_per_client
        shards = clients * each
        if each < 1:
            raise UsageError(f"--shards-per-client is {each}, but must be at least 1")
        if shards > rows:
            raise UsageError(
                f"{clients} clients with {each} shards each need {shards} "
                f"{units.counted}, but there are {rows}"
            )
        by_label = np.argsort(units.labels, kind="stable")
        # Shards of one size are dealt; the remainder is the last row of each of the first `extra`
        # shards, and each of those then joins the client of the row before it.
        size, extra = divmod(rows, shards)
        surplus = (size + 1) * np.arange(1, extra + 1) - 1
        even = np.delete(by_label, surplus)
        rng = np.random.default_rng(derived_seed(self.config.seed, "partition"))
        client_of = np.empty(shards, dtype=np.int64)
        client_of[rng.permutation(shards)] = np.repeat(np.arange(clients), each)
        owner = np.empty(rows, dtype=np.int64)
        owner[even] = np.repeat(client_of, size)
        owner[by_label[surplus]] = owner[by_label[surplus - 1]]
        return owned(owner, clients)


PARTITION = Shard
