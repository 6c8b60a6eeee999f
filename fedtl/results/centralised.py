"""What all clients' training rows give in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtl.federation.evaluation import ClientTallies


@dataclass(frozen=True)
class Centralised:
    """What all clients' training rows give in one place.

    Attributes:
        tallies: Scores of the best exactly solved head, by partition id.
        method: What it was solved by.
        trained: Accuracies, on own data and on new data, of the strategy's own training on all
            rows, once for every shuffle; none on own data if training rows are scored as well.
    """

    tallies: Mapping[int, ClientTallies]
    method: str
    trained: Sequence[tuple[float | None, float | None]]
