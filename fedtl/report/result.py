"""What a finished run hands to its tables and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.report.unseen import UnseenSite


@dataclass(frozen=True, slots=True, eq=False)
class ClientRow:
    """How one client fares under the three ways of learning, on its own held-out examples.

    Accuracies are fractions in [0, 1]; ``None`` where there is nothing to score, for example no
    held-out example, or no centralised head.

    Attributes:
        client: Partition id, an index into ``RunResult.client_names``.
        name: The client's name.
        examples: Examples it trains on.
        held_out: Examples it keeps for evaluation.
        label_counts: Shape ``(C,)``, int64: its examples per class, held-out ones included.
        local_only_accuracy: Of the head that the client learns from its own examples alone.
        federated_accuracy: Of the global head; of the client's own where the run has no global one.
        centralised_accuracy: Of the head learnt from all clients' examples in one place.
        local_only_balanced_accuracy: Mean recall over the classes that the client holds out.
        federated_balanced_accuracy: Likewise.
        centralised_balanced_accuracy: Likewise.
        gain: Accuracy of the head that federation gives the client, its personal one where it has
            one, minus local-only accuracy, a fraction in [-1, 1].
        harmed: Whether federation hurt this client (negative transfer).
        personal_accuracy: Of the client's own head beside the global one.
        personal_balanced_accuracy: Likewise.
    """

    client: int
    name: str
    examples: int
    held_out: int
    label_counts: NDArray[np.int64]
    local_only_accuracy: float | None
    federated_accuracy: float | None
    centralised_accuracy: float | None
    local_only_balanced_accuracy: float | None
    federated_balanced_accuracy: float | None
    centralised_balanced_accuracy: float | None
    gain: float | None
    harmed: bool
    personal_accuracy: float | None = None
    personal_balanced_accuracy: float | None = None


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
    """A few of one client's pictures.

    Attributes:
        name: The client's name.
        images: Up to nine pictures, each of shape ``(height, width, 3)``, uint8, RGB.
        labels: The class name of each picture.
    """

    name: str
    images: Sequence[NDArray[np.uint8]]
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class SitePanel:
    """One picture of each of C classes at each of S sites.

    Attributes:
        sites: The S names; a single empty one where the data has no sites.
        classes: The C class names.
        pictures: S rows of C pictures, each of shape ``(height, width, 3)``, uint8, RGB; ``None``
            where a site has none of a class.
        sites_left_out: Sites that the data has besides.
        classes_left_out: Classes that the data has besides.
    """

    sites: Sequence[str]
    classes: Sequence[str]
    pictures: Sequence[Sequence[NDArray[np.uint8] | None]]
    sites_left_out: int = 0
    classes_left_out: int = 0


@dataclass(frozen=True, eq=False)
class RunResult:
    """Everything that the tables and the page of a finished run show.

    K is the number of clients, C the number of classes. A score may be ``None`` or NaN where it
    does not exist.

    Attributes:
        config: The effective configuration, kebab-case keys.
        classes: The C class names.
        client_names: The K clients' names, in partition-id order.
        label_counts: Shape ``(K, C)``, int64: examples per client and class.
        rounds: One mapping per round, as in ``metrics.jsonl``: ``round``, ``loss``, ``accuracy``
            (over all clients' held-out examples), ``mean_client_accuracy``,
            ``worst_client_accuracy``, ``train_loss``, ``test_accuracy`` (``None`` without a test
            split), ``clients`` (how many took part), ``failed`` (mappings of ``client``, a
            partition id, and ``reason``), ``bytes_up``, ``bytes_down``, ``seconds``.
        clients: One row per client, in partition-id order.
        confusion: Shape ``(C, C)``, int64, rows the true class, of the global head, or, without
            one, of clients' own heads on their held-out examples; ``None`` where not computed.
        egress: What crossed the sites' boundary.
        samples: The first few clients' pictures; empty for precomputed features.
        summary: As in ``summary.json``. Read here: ``federated``, ``personal``, ``local_only`` and
            ``centralised``, each ``None`` or a mapping of ``accuracy``, ``balanced_accuracy``,
            ``mean_client_accuracy`` and ``worst_client_accuracy``; ``global_head``, whether there
            is one, or else clients' own heads count as federated; ``alone_note`` (what must be
            known of local-only and centralised, may be empty); ``scored_on`` (what
            ``accuracy`` was measured on, for people); ``strategy``, ``rounds``, ``clients``,
            ``bytes_up``, ``bytes_down``; ``seconds``, a mapping of ``total``, ``start_up``,
            ``features``, ``rounds`` and ``per_round_median``; ``peak_rss_mb``; ``versions``, a
            mapping; ``head_sha256`` and ``backbone_fingerprint``, hexadecimal.
        warnings: One sentence each, for example about images that could not be read.
        panel: Pictures by site and class; ``None`` where the run's own process has none.
        unseen: The site that took no part; ``None`` where all did.
    """

    config: Mapping[str, str | int | float | bool]
    classes: tuple[str, ...]
    client_names: tuple[str, ...]
    label_counts: NDArray[np.int64]
    rounds: Sequence[Mapping[str, Any]]
    clients: Sequence[ClientRow]
    confusion: NDArray[np.int64] | None
    egress: Sequence[EgressTotal]
    samples: Sequence[ClientSamples]
    summary: Mapping[str, Any]
    warnings: Sequence[str] = field(default_factory=tuple)
    panel: SitePanel | None = None
    unseen: UnseenSite | None = None

    @property
    def harmed(self) -> int:
        """How many clients federation hurt."""
        return sum(row.harmed for row in self.clients)
