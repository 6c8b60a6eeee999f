"""A few classes for each client."""

from __future__ import annotations

import numpy as np

from fedtl.data.partitions.base import Partition, Rows, Units, owned
from fedtl.determinism import derived_seed, generator
from fedtl.errors import UsageError
from fedtl.options import Integer, Options


class Pathological(Partition):
    """A few classes per client."""

    options = Options(
        classes_per_client=Integer(
            2, "Classes a client holds (pathological).", low=1, high=1_000_000
        )
    )

    def deal(self, units: Units) -> list[Rows]:
        """See :class:`Partition`."""
        clients, each, count = (
            self.config.clients,
            self.options.classes_per_client,
            units.label_count,
        )
        if not 1 <= each <= count:
            raise UsageError(
                f"--classes-per-client is {each}, but must be from 1 to {count}, the number of "
                "classes"
            )
        if clients * each < count:
            raise UsageError(
                f"{clients} clients with {each} of {count} classes each leave some classes without "
                "a client; raise --clients or --classes-per-client"
            )
        if clients < count:
            return self._in_turn(units)
        # A client's first class is its own turn's, the others are drawn.
        rng = np.random.default_rng(derived_seed(self.config.seed, "partition"))
        takers: list[list[int]] = [[] for _ in range(count)]
        for client in range(clients):
            classes = {client % count}
            while len(classes) < each:
                classes.add(int(rng.choice(count, size=1)[0]))
            for label in classes:
                takers[label].append(client)
        owner = np.empty(len(units.labels), dtype=np.int64)
        for label, those in enumerate(takers):
            rows = np.flatnonzero(units.labels == label)
            if len(rows) < len(those):
                raise self._too_rare(units)
            for client, part in zip(those, np.array_split(rows, len(those)), strict=True):
                owner[part] = client
        return owned(owner, clients)

    def _in_turn(self, units: Units) -> list[Rows]:
        """Return a pathological split for fewer clients than classes.

        Classes drawn at random would hardly ever be all of them, and the rows of the others would
        be lost. Here each client in turn takes the next classes of a shuffled cycle.
        """
        clients, each = self.config.clients, self.options.classes_per_client
        cycle = generator(self.config.seed, "partition classes").permutation(units.label_count)
        pieces: list[list[Rows]] = [[] for _ in range(clients)]
        for place, label in enumerate(cycle):
            turns = range(place, clients * each, units.label_count)
            rows = np.flatnonzero(units.labels == label)
            if len(rows) < len(turns):
                raise self._too_rare(units)
            for turn, piece in zip(turns, np.array_split(rows, len(turns)), strict=True):
                pieces[turn // each].append(piece)
        return [np.concatenate(piece) for piece in pieces]

    def _too_rare(self, units: Units) -> UsageError:
        return UsageError(
            f"{self.config.clients} clients with {self.options.classes_per_client} of "
            f"{units.label_count} classes each need more {units.counted.split()[-1]} of some class "
            "than there are; lower --clients or --classes-per-client"
        )


PARTITION = Pathological
