"""From clients' score metrics to the numbers a run reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import MetricRecord
from numpy.typing import NDArray

from fedtl.messages.phases import FIELD_KEYS, TEMPERATURE_KEYS
from fedtl.statistics.calibration import CALIBRATION_BINS, Calibration
from fedtl.statistics.disclosure import completed
from fedtl.statistics.intervals import NO_CLUSTERS, Clusters, Interval, Pairs
from fedtl.statistics.metrics import FieldMetrics
from fedtl.statistics.score_counts import ScoreCounts, unpacked_cells
from fedtl.transfer.lone_head import METHODS, Method
from fedtl.transfer.scoring import Score, balanced_accuracy


@dataclass(frozen=True, slots=True)
class Tally:
    """What a client sends of a head's score: counts, no examples.

    Attributes:
        loss: Mean cross-entropy in nats; NaN where there was nothing to score.
        correct: Per class, shape ``(K,)``; a real site's are estimates: see
            :mod:`fedtl.statistics.disclosure`.
        examples: Per class, shape ``(K,)``.
        clusters: Sums over groups, from which the interval comes.
        confusion: Shape ``(K, K)``, rows are the true class; ``None`` where not sent.
        counts: Binned scores; ``None`` where not sent.
    """

    loss: float
    correct: NDArray[np.float64]
    examples: NDArray[np.int64]
    clusters: Clusters
    confusion: NDArray[np.integer] | None = None
    counts: ScoreCounts | None = None

    @classmethod
    def of(
        cls, score: Score, groups: NDArray[np.int64] | None, *, probabilities: bool = False
    ) -> Tally:
        """Return the counts of a score, binned if it has its logits.

        Args:
            score: What is counted.
            groups: Those of its examples.
            probabilities: Whether the softmax of its logits gives probabilities.
        """
        counts = None
        if score.logits is not None and score.examples:
            counts = ScoreCounts.of(score.logits, score.truth, probabilities=probabilities)
        return cls(
            loss=score.loss,
            correct=score.correct_per_class.astype(float),
            examples=score.examples_per_class,
            clusters=Clusters.of(score.right, groups),
            confusion=score.confusion,
            counts=counts,
        )

    @classmethod
    def read(cls, metrics: MetricRecord, prefix: str, classes: int) -> Tally:
        """Return the counts sent under ``prefix``; zero where the client had nothing to score."""
        if not metrics.get(prefix + "num-examples"):
            nothing = np.zeros(classes, np.int64)
            return cls(float("nan"), nothing.astype(float), nothing, NO_CLUSTERS)
        confusion = metrics.get(prefix + "confusion")
        examples = np.asarray(metrics[prefix + "examples"], np.int64)
        clusters = Clusters(*metrics[prefix + "clusters"])  # type: ignore[misc]
        told: Any = [metrics[prefix + key] for key in FIELD_KEYS if prefix + key in metrics]
        counts, rare = None, np.zeros(0)
        if told:
            cells, others, predicted, probabilities = told
            counts, rare = (
                ScoreCounts.unpacked(cells, predicted, probabilities),
                unpacked_cells(others),
            )
        right = np.asarray(metrics[prefix + "correct"], np.int64)
        correct, counts = completed(right, examples, clusters.correct, counts, rare)
        return cls(
            loss=float(metrics[prefix + "loss"]),  # type: ignore[arg-type]
            correct=correct,
            examples=examples,
            clusters=clusters,
            confusion=None
            if confusion is None
            else np.asarray(confusion, np.int32).reshape(classes, classes),
            counts=counts,
        )

    @property
    def total(self) -> int:
        """Examples scored."""
        return self.clusters.examples

    @property
    def right(self) -> int:
        """Examples that are right."""
        return self.clusters.correct

    @property
    def accuracy(self) -> float:
        """Fraction right; NaN where nothing was scored."""
        return self.right / self.total if self.total else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur."""
        return balanced_accuracy(self.correct, self.examples)

    @property
    def metrics(self) -> FieldMetrics | None:
        """Metrics of the field; ``None`` without binned scores."""
        if self.counts is None:
            return None
        return FieldMetrics.of(self.counts, self.correct, self.examples)


@dataclass(frozen=True, slots=True)
class ClientTallies:
    """One client's scores of one kind of head: on its held-out rows, and on rows of no client.

    Attributes:
        held_out: On its own held-out rows.
        test: On the test split; empty for heads that are not scored there.
        unseen: On the holdout-site.
    """

    held_out: Tally
    test: Tally
    unseen: Tally


@dataclass(frozen=True)
class Summary:
    """Scores of one kind of head on some examples; NaN where nothing could be scored.

    Attributes:
        accuracy: Of all examples together.
        accuracy_low: Lower end of its 95 % interval, over examples or groups.
        accuracy_high: Upper end.
        balanced_accuracy: Mean recall on the same examples.
        mean_client_accuracy: Plain mean over clients, each on its own held-out rows.
        worst_client_accuracy: Their minimum.
        correct: Examples that are right.
        examples: Examples that were scored.
        groups: Groups that they form; as many as examples if there are no groups.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    mean_client_accuracy: float
    worst_client_accuracy: float
    correct: int
    examples: int
    groups: int


def on_own_data(clients: Sequence[ClientTallies]) -> Summary:
    """Return the scores of a kind of head on all clients' held-out rows."""
    own = [client.held_out for client in clients]
    each = [tally.accuracy for tally in own if tally.total]
    return _summary(own, each, sum((tally.clusters for tally in own), NO_CLUSTERS))


def on_new_data(clients: Sequence[ClientTallies]) -> Summary | None:
    """Return the scores of a kind of head on the test split; ``None`` if there is none.

    Clients' own heads are scored on it one by one: their accuracy is the mean over them, without an
    interval, since the same examples are scored many times.
    """
    tested = [client.test for client in clients if client.test.total]
    if not tested:
        return None
    each = [tally.accuracy for tally in tested]
    common = _alike(tested)
    if not common:
        return _summary(tested, each, sum((tally.clusters for tally in tested), NO_CLUSTERS))
    summary = _summary(tested, each, tested[0].clusters)
    if len({tally.clusters for tally in tested}) > 1:
        summary = replace(summary, accuracy_low=_UNKNOWN.low, accuracy_high=_UNKNOWN.high)
    return summary


def field_metrics(tallies: Sequence[Tally], *, shared: bool) -> FieldMetrics | None:
    """Return the metrics of all scored examples together; ``None`` if one has no binned scores.

    Args:
        tallies: One per client.
        shared: Whether clients with equal counts of each class scored the same examples.
    """
    scored = [tally for tally in tallies if tally.total]
    if shared and _alike(scored):
        scored = scored[:1]
    counts = [tally.counts for tally in scored if tally.counts is not None]
    if not counts or len(counts) < len(scored):
        return None
    correct = np.sum([tally.correct for tally in scored], axis=0)
    examples = np.sum([tally.examples for tally in scored], axis=0)
    total = sum(counts[1:], counts[0])
    return FieldMetrics.of(total, correct, examples)


def _alike(tallies: Sequence[Tally]) -> bool:
    """Return whether all scored equally many examples of each class."""
    return len({(tally.total, tally.examples.tobytes()) for tally in tallies}) == 1


_UNKNOWN = Interval(float("nan"), float("nan"))


def _summary(tallies: Sequence[Tally], each: Sequence[float], clusters: Clusters) -> Summary:
    correct = sum((tally.correct for tally in tallies), np.zeros(1, np.int64))
    examples = sum((tally.examples for tally in tallies), np.zeros(1, np.int64))
    right, scored = sum(tally.right for tally in tallies), sum(tally.total for tally in tallies)
    interval = clusters.interval or _UNKNOWN
    return Summary(
        accuracy=right / scored if scored else float("nan"),
        accuracy_low=interval.low,
        accuracy_high=interval.high,
        balanced_accuracy=balanced_accuracy(correct, examples),
        mean_client_accuracy=float(np.mean(each)) if each else float("nan"),
        worst_client_accuracy=float(np.min(each)) if each else float("nan"),
        correct=clusters.correct,
        examples=clusters.examples,
        groups=clusters.groups,
    )


@dataclass(frozen=True, slots=True)
class RoundScore:
    """Scores of the incoming head on a client's held-out rows.

    Attributes:
        held_out: Examples scored.
        loss: Mean cross-entropy in nats; NaN where there is none.
        accuracy: Fraction right; NaN where there is none.
    """

    held_out: int
    loss: float
    accuracy: float

    @classmethod
    def read(cls, metrics: MetricRecord) -> RoundScore:
        """Return what a training reply reports."""
        return cls(
            held_out=int(metrics["held-out"]),  # type: ignore[arg-type]
            loss=float(metrics["loss"]),  # type: ignore[arg-type]
            accuracy=float(metrics["accuracy"]),  # type: ignore[arg-type]
        )


_PREFIXES = {
    "federated": "",
    "personal": "personal-",
    "corrected": "corrected-",
    "zero_shot": "zero-shot-",
}


@dataclass(frozen=True, slots=True)
class ClientEvaluation:
    """What a client reports in the closing evaluation.

    Attributes:
        federated: Scores of the final head; of its own head if the server has no whole one.
        local_only: Scores of its local-only head.
        personal: Scores of its personal head; ``None`` if it has none.
        corrected: Scores of the final head, read with its own frequencies of classes; ``None``
            where there is no global head.
        zero_shot: Scores of the head of the classes' names; ``None`` if the run has none.
        method: What its local-only head was solved by.
        calibration: How sure the final head should be; ``None`` if it is not sent.
        pairs: What the other heads got right beside the local-only one, by ``federated``,
            ``personal``, ``corrected`` and ``zero_shot``.
    """

    federated: ClientTallies
    local_only: ClientTallies
    personal: ClientTallies | None
    corrected: ClientTallies | None
    zero_shot: ClientTallies | None
    method: Method
    pairs: Mapping[str, Pairs]
    calibration: Calibration | None = None

    @classmethod
    def read(cls, metrics: MetricRecord, classes: int) -> ClientEvaluation:
        """Return what a closing reply reports."""

        def tallies(prefix: str) -> ClientTallies:
            return ClientTallies(
                held_out=Tally.read(metrics, prefix, classes),
                test=Tally.read(metrics, prefix + "test-", classes),
                unseen=Tally.read(metrics, prefix + "unseen-", classes),
            )

        def beside(prefix: str) -> ClientTallies | None:
            return tallies(prefix) if prefix + "num-examples" in metrics else None

        pairs = {
            head: Pairs(*metrics[prefix + "pairs"])  # type: ignore[misc]
            for head, prefix in _PREFIXES.items()
            if prefix + "pairs" in metrics
        }
        return cls(
            federated=tallies(""),
            local_only=tallies("local-only-"),
            personal=beside("personal-"),
            corrected=beside("corrected-"),
            zero_shot=beside("zero-shot-"),
            method=METHODS[int(metrics["local-only-method"])],  # type: ignore[arg-type]
            pairs=pairs,
            calibration=_calibration(metrics),
        )

    @property
    def round_score(self) -> RoundScore:
        """The final head's score, as a further round would have reported it."""
        own = self.federated.held_out
        return RoundScore(own.total, own.loss, own.accuracy)


def _calibration(metrics: MetricRecord) -> Calibration | None:
    if not metrics.keys() >= set(TEMPERATURE_KEYS):
        return None
    losses, gaps = (np.asarray(metrics[key], np.float64) for key in TEMPERATURE_KEYS)
    examples = int(metrics["num-examples"]) if losses.any() else 0  # type: ignore[arg-type]
    return Calibration(examples, losses, gaps.reshape(-1, CALIBRATION_BINS))
