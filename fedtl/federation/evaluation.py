"""From clients' score metrics to the numbers a run reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import MetricRecord
from numpy.typing import NDArray

from fedtl.transfer.scoring import Score, balanced_accuracy


@dataclass(frozen=True, slots=True)
class Tally:
    """What a client tells of a head's score: counts, no examples.

    Attributes:
        loss: Mean cross-entropy in nats; NaN where there was nothing to score.
        correct: Per class, shape ``(K,)``.
        examples: Per class, shape ``(K,)``.
        confusion: Shape ``(K, K)``, rows are the true class; ``None`` where not sent.
    """

    loss: float
    correct: NDArray[np.int64]
    examples: NDArray[np.int64]
    confusion: NDArray[np.integer] | None = None

    @classmethod
    def of(cls, score: Score) -> Tally:
        """Return the counts of a score."""
        return cls(score.loss, score.correct_per_class, score.examples_per_class, score.confusion)

    @classmethod
    def read(cls, metrics: MetricRecord, prefix: str, classes: int) -> Tally:
        """Return the counts sent under ``prefix``; zero where the client had nothing to score."""
        if not metrics.get(prefix + "num-examples"):
            return cls(float("nan"), np.zeros(classes, np.int64), np.zeros(classes, np.int64))
        confusion = metrics.get(prefix + "confusion")
        return cls(
            loss=float(metrics[prefix + "loss"]),  # type: ignore[arg-type]
            correct=np.asarray(metrics[prefix + "correct"], np.int64),
            examples=np.asarray(metrics[prefix + "examples"], np.int64),
            confusion=None
            if confusion is None
            else np.asarray(confusion, np.int32).reshape(classes, classes),
        )

    @property
    def total(self) -> int:
        """Examples scored."""
        return int(self.examples.sum())

    @property
    def accuracy(self) -> float:
        """Fraction right; NaN where nothing was scored."""
        return float(self.correct.sum()) / self.total if self.total else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur."""
        return balanced_accuracy(self.correct, self.examples)


@dataclass(frozen=True, slots=True)
class ClientTallies:
    """One client's scores of one kind of head: on its held-out data, and on what is nobody's.

    Attributes:
        held_out: On its own held-out examples.
        test: On the data's own test split.
        unseen: On the site that took part in nothing else.
    """

    held_out: Tally
    test: Tally
    unseen: Tally


@dataclass(frozen=True)
class Summary:
    """The four accuracies a run reports of a kind of head (NaN where nothing could be scored).

    Attributes:
        accuracy: On the data's own test split where it has one, else on all held-out examples. Of
            local-only heads, the mean over clients.
        balanced_accuracy: Mean recall on the same examples.
        mean_client_accuracy: Plain mean over clients, each on its own held-out examples.
        worst_client_accuracy: Their minimum.
    """

    accuracy: float
    balanced_accuracy: float
    mean_client_accuracy: float
    worst_client_accuracy: float


def summarise(clients: Sequence[ClientTallies]) -> Summary:
    """Return the reported accuracies of one kind of head over all clients."""
    tested = [client.test for client in clients if client.test.total]
    scored = tested or [client.held_out for client in clients]
    correct = sum((tally.correct for tally in scored), np.zeros(1, np.int64))
    examples = sum((tally.examples for tally in scored), np.zeros(1, np.int64))
    own = [client.held_out.accuracy for client in clients if client.held_out.total]
    return Summary(
        accuracy=float(correct.sum() / examples.sum()) if examples.sum() else float("nan"),
        balanced_accuracy=balanced_accuracy(correct, examples),
        mean_client_accuracy=float(np.mean(own)) if own else float("nan"),
        worst_client_accuracy=float(np.min(own)) if own else float("nan"),
    )


def scored_on(
    tallies: Mapping[int, ClientTallies], holdout_site: str, *, test_is_held_out: bool = False
) -> str:
    """Return what ``accuracy`` of :func:`summarise` was measured on, for people.

    Args:
        tallies: By partition id.
        holdout_site: The site that took no part; empty if all did.
        test_is_held_out: Whether the test rows were held out of data without a test split.
    """
    tested = next((t.test.total for t in tallies.values() if t.test.total), 0)
    if tested:
        if test_is_held_out:
            without = f", without {holdout_site}" if holdout_site else ""
            return f"a test part that no client has{without} ({tested:,} examples)"
        if holdout_site:
            return f"the test split without {holdout_site} ({tested:,} examples)"
        return f"the data's own test split ({tested:,} examples)"
    held_out = sum(t.held_out.total for t in tallies.values())
    return f"all clients' held-out examples ({held_out:,})"


@dataclass(frozen=True, slots=True)
class RoundScore:
    """How the incoming head did on a client's held-out examples.

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
        """Return what a training reply tells."""
        return cls(
            held_out=int(metrics["held-out"]),  # type: ignore[arg-type]
            loss=float(metrics["loss"]),  # type: ignore[arg-type]
            accuracy=float(metrics["accuracy"]),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class ClientEvaluation:
    """What a client tells in the closing evaluation.

    Attributes:
        federated: Scores of the final head; of its own head where the server has no whole one.
        local_only: Scores of the head it would have got alone.
        personal: Scores of its own head beside the final one; ``None`` where it has none.
    """

    federated: ClientTallies
    local_only: ClientTallies
    personal: ClientTallies | None

    @classmethod
    def read(cls, metrics: MetricRecord, classes: int) -> ClientEvaluation:
        """Return what a closing reply tells."""

        def tallies(prefix: str) -> ClientTallies:
            return ClientTallies(
                held_out=Tally.read(metrics, prefix, classes),
                test=Tally.read(metrics, prefix + "test-", classes),
                unseen=Tally.read(metrics, prefix + "unseen-", classes),
            )

        personal = tallies("personal-") if "personal-num-examples" in metrics else None
        return cls(tallies(""), tallies("local-only-"), personal)

    @property
    def round_score(self) -> RoundScore:
        """The final head's score, as a further round would have told it."""
        own = self.federated.held_out
        return RoundScore(own.total, own.loss, own.accuracy)
