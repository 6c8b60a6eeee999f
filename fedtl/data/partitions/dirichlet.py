"""Classes dealt in proportions drawn from a Dirichlet distribution."""

from __future__ import annotations

import numpy as np

from fedtl.data.partitions.base import Partition, Rows, Units, owned
from fedtl.determinism import derived_seed
from fedtl.errors import UsageError
from fedtl.options import Integer, Number, Options

# How many Dirichlet proportions may be drawn in search of a split that leaves no client short:
# a bound on time, below which a small federation gets a hundred tries.
_DIRICHLET_NUMBERS = 20_000

# Beyond these, numpy's Dirichlet draws underflow or overflow.
_LEAST_ALPHA, _MOST_ALPHA = 1e-6, 1e9


class Dirichlet(Partition):
    """Each class is dealt in proportions drawn from Dir(alpha).

    See Yurochkin et al., arXiv 1905.12022.

    The draw is repeated a bounded number of times (5 to 100, by the clients' number) until every
    client has ``min-examples``.
    """

    options = Options(
        alpha=Number(
            0.3, "Dirichlet concentration; small is skewed (dirichlet).", above=0.0, high=1e9
        ),
        min_examples=Integer(
            2,
            "Fewest examples (or groups) a client may have (dirichlet).",
            low=1,
            high=1_000_000,
        ),
    )

    def deal(self, units: Units) -> list[Rows]:
        """See :class:`Partition`."""
        rows, clients, alpha = len(units.labels), self.config.clients, self.options.alpha
        if not _LEAST_ALPHA <= alpha <= _MOST_ALPHA:
            raise UsageError(
                f"--alpha is {alpha:g}, but must be from {_LEAST_ALPHA:g} to {_MOST_ALPHA:g}"
            )
        smallest = max(self.options.min_examples, 1)
        if clients * smallest > rows:
            raise UsageError(
                f"{clients} clients cannot have {smallest} {units.counted.split()[-1]} each: there "
                f"are {rows} {units.counted}"
            )
        most_draws = max(5, min(100, _DIRICHLET_NUMBERS // (clients * units.label_count)))
        of_label = [np.flatnonzero(units.labels == label) for label in range(units.label_count)]
        for draw in range(most_draws):
            rng = np.random.default_rng(derived_seed(self.config.seed, "partition", draw))
            owner = np.empty(rows, dtype=np.int64)
            for its in of_label:
                shares = np.cumsum(rng.dirichlet(np.full(clients, float(alpha))))
                ends = (shares * len(its)).astype(np.int64)
                ends[-1] = len(its)
                owner[its] = np.searchsorted(ends, np.arange(len(its)), side="right")
            if np.bincount(owner, minlength=clients).min() >= smallest:
                return owned(owner, clients)
        raise UsageError(
            f"none of {most_draws} Dirichlet draws with alpha {alpha:g} gave each of {clients} "
            f"clients at least {smallest} of {rows} {units.counted}; raise --alpha, lower "
            "--clients or lower --min-examples"
        )


PARTITION = Dirichlet
