"""Everything that a finished run knows: the material of its tables, page and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.data.understood import Understood
from fedtl.federation.round_row import Round
from fedtl.results.over_seeds import SeedScores
from fedtl.results.unseen import UnseenSite
from fedtl.statistics.intervals import Interval, Pairs
from fedtl.statistics.metrics import FieldMetrics
from fedtl.statistics.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class OwnScore:
    """Scores of one head on a client's held-out rows, of which there is at least one.

    Attributes:
        accuracy: Fraction that is right.
        balanced_accuracy: Mean recall over the classes in the client's held-out rows.
        correct: How many are right.
        examples: Of how many.
        interval: 95 % interval of the accuracy.
        metrics: Metrics of the field; ``None`` without binned scores.
    """

    accuracy: float
    balanced_accuracy: float
    correct: int
    examples: int
    interval: Interval
    metrics: FieldMetrics | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain of a head over a client's local-only head, on the client's held-out rows.

    Attributes:
        difference: Accuracy minus local-only accuracy, a fraction in [-1, 1].
        interval: Its 95 % interval.
        verdict: Whether the client is better or worse off, by a test; ``None`` for a hostile
            client.
        pairs: What the two heads got right, example by example.
    """

    difference: float
    interval: Interval
    verdict: Verdict | None
    pairs: Pairs


@dataclass(frozen=True, slots=True, eq=False)
class ClientRow:
    """One client's scores under the ways of learning, on its held-out rows.

    Attributes:
        client: Partition id, an index into ``RunDetail.client_names``.
        name: The client's name.
        examples: Examples it trains on.
        held_out: Examples that it holds out for evaluation.
        label_counts: Shape ``(C,)``, int64: its examples per class, held-out ones included.
        scores: By way of learning: ``local_only``, ``federated``, ``corrected``, ``personal``,
            ``centralised``; a way that was not scored is absent.
        gains: By way of learning of the federation: ``federated``, ``corrected``,
            ``personal``.
        method: What its local-only head was solved by; empty if the client failed.
    """

    client: int
    name: str
    examples: int
    held_out: int
    label_counts: NDArray[np.int64]
    scores: Mapping[str, OwnScore]
    gains: Mapping[str, Gain]
    method: str = ""

    def accuracy(self, way: str) -> float | None:
        """Return the accuracy under one way of learning; ``None`` if there is none."""
        return self.scores[way].accuracy if way in self.scores else None

    def balanced_accuracy(self, way: str) -> float | None:
        """Return the balanced accuracy under one way of learning."""
        return self.scores[way].balanced_accuracy if way in self.scores else None

    def gain(self, way: str) -> float | None:
        """Return the gain of one way of learning over local-only, a fraction."""
        return self.gains[way].difference if way in self.gains else None

    def verdict(self, way: str) -> Verdict | None:
        """Return the verdict on one way of learning."""
        return self.gains[way].verdict if way in self.gains else None


@dataclass(frozen=True, slots=True)
class EgressTotal:
    """One kind of record that crossed the sites' boundary, summed over clients and rounds.

    Attributes:
        direction: ``"up"`` from a site to the server, ``"down"`` from the server to a site.
        record: The record's key in the message, for example ``"arrays"``.
        contents: What it holds, for people: ``"weight 10×512, bias 10"``.
        messages: How many messages carried it.
        bytes: Their size together.
    """

    direction: Literal["up", "down"]
    record: str
    contents: str
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class ClientSamples:
    """A few of one client's inputs.

    Attributes:
        name: The client's name.
        items: Pictures of shape ``(height, width, 3)``, uint8, RGB; texts; or recordings.
        labels: The class name of each.
    """

    name: str
    items: Sequence[Any]
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class SitePanel:
    """One input of each of C classes at each of S sites.

    Attributes:
        sites: The S names; a single empty one where the data has no sites.
        classes: The C class names.
        pictures: S rows of C inputs: pictures of shape ``(height, width, 3)``, uint8, RGB; texts;
            or recordings. ``None`` if a site has none of a class.
        sites_left_out: Number of further sites.
        classes_left_out: Number of further classes.
    """

    sites: Sequence[str]
    classes: Sequence[str]
    pictures: Sequence[Sequence[Any]]
    sites_left_out: int = 0
    classes_left_out: int = 0


@dataclass(frozen=True, eq=False)
class RunDetail:
    """Everything that a finished run knows. K is

    the number of clients, C the number of classes. A score that does not exist is ``None`` or NaN.

    Attributes:
        config: The effective configuration, kebab-case keys.
        classes: The C class names.
        client_names: The K clients' names, in partition-id order.
        label_counts: Shape ``(K, C)``, int64: examples per client and class.
        rounds: One per round.
        clients: One row per client, in partition-id order.
        confusion: Shape ``(C, C)``, int64, rows the true class, of the global head, or, without
            one, of clients' own heads on their held-out rows; ``None`` if not computed.
        egress: What crossed the sites' boundary.
        samples: The first few clients' pictures; empty for precomputed features.
        summary: As in ``summary.json``; :mod:`fedtl.results.summary` says what it holds.
        warnings: One sentence each, for example about images that could not be read.
        panel: Pictures by site and class; ``None`` if the run's own process has none.
        unseen: Scores on the holdout-site; ``None`` without one.
        unseen_sites: Results of runs without one site each, on that site.
        understood: Counts of the data; ``None`` if the run's own process did not see them.
        seeds: Results with the run's own seed, and with others; empty for one seed.
        pooled_training: Accuracies, on own data and on new data, of the strategy's own training on
            all clients' rows in one place, once for every shuffle.
    """

    config: Mapping[str, str | int | float | bool]
    classes: tuple[str, ...]
    client_names: tuple[str, ...]
    label_counts: NDArray[np.int64]
    rounds: Sequence[Round]
    clients: Sequence[ClientRow]
    confusion: NDArray[np.int64] | None
    egress: Sequence[EgressTotal]
    samples: Sequence[ClientSamples]
    summary: Mapping[str, Any]
    warnings: Sequence[str] = field(default_factory=tuple)
    panel: SitePanel | None = None
    unseen: UnseenSite | None = None
    unseen_sites: Sequence[UnseenSite] = ()
    understood: Understood | None = None
    seeds: Sequence[SeedScores] = ()
    pooled_training: Sequence[tuple[float | None, float | None]] = ()

    @property
    def used(self) -> str:
        """The way of learning whose heads clients would use: ``personal`` or ``federated``."""
        return "personal" if self.summary["personal"] is not None else "federated"

    @property
    def harmed(self) -> int:
        """How many clients are worse off with the heads they would use, by the test."""
        return len(self.summary["harmed_clients"])
