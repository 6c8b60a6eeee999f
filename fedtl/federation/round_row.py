"""One round of a run: what happened in it, and how its clients scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
from flwr.app import MetricRecord

from fedtl.federation.evaluation import RoundScore
from fedtl.federation.exchange import Phase


@dataclass(frozen=True, slots=True)
class FailedClient:
    """A client whose contribution is missing from a round.

    Attributes:
        client: Its partition id.
        reason: Why, in a sentence without a full stop.
        intended: Whether the scenario intends it, as with ``dropout``.
    """

    client: int
    reason: str
    intended: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """One line of ``metrics.jsonl``.

    Clients score the head of a round in the next round, so the last four figures of a round come
    later than the others.

    Attributes:
        round: Its number, 1 for the first.
        clients: How many took part.
        train_loss: Mean training loss over their examples; ``None`` if no client sent any.
        test_accuracy: Of the head on the test split, a fraction; ``None`` without one.
        failed: Clients whose contribution is missing.
        bytes_up: Bytes from the sites.
        bytes_down: Bytes to them.
        seconds: That it took.
        loss: Mean cross-entropy of the head over all clients' held-out rows; ``None``, here
            and below, before it is scored, or where nothing is held out.
        accuracy: Its accuracy on them, a fraction.
        mean_client_accuracy: Mean of the clients' accuracies on their own.
        worst_client_accuracy: The least of these.
    """

    round: int
    clients: int
    train_loss: float | None
    test_accuracy: float | None
    failed: tuple[FailedClient, ...]
    bytes_up: int
    bytes_down: int
    seconds: float
    loss: float | None = None
    accuracy: float | None = None
    mean_client_accuracy: float | None = None
    worst_client_accuracy: float | None = None

    @property
    def shown_accuracy(self) -> float | None:
        """The accuracy to show during a run: on the test split, or else on held-out rows."""
        return self.accuracy if self.test_accuracy is None else self.test_accuracy

    @classmethod
    def of(
        cls, phase: Phase, server_round: int, metrics: MetricRecord | None, seconds: float
    ) -> Self:
        """Return what is known of a round before its head is scored.

        Args:
            phase: Its exchange.
            server_round: Its number.
            metrics: The strategy's summary of the clients' metrics; ``None`` if no client sent any.
            seconds: That it took.
        """
        loss = float(metrics["train-loss"]) if metrics else float("nan")  # type: ignore[arg-type]
        return cls(
            round=server_round,
            clients=len(phase.clients),
            train_loss=None if np.isnan(loss) else loss,
            test_accuracy=None,
            failed=tuple(
                FailedClient(failed.client, failed.reason, failed.intended)
                for failed in phase.failures
            ),
            bytes_up=phase.bytes_up,
            bytes_down=phase.bytes_down,
            seconds=seconds,
        )

    def scored(self, told: Mapping[int, RoundScore]) -> Self:
        """Return the round with its head's scores on the clients' held-out rows."""
        scored = [(one.held_out, one.loss, one.accuracy) for one in told.values() if one.held_out]
        if not scored:
            return self
        count, loss, accuracy = (
            np.array(column, np.float64) for column in zip(*scored, strict=True)
        )
        return replace(
            self,
            loss=float(loss @ count / count.sum()),
            accuracy=float(accuracy @ count / count.sum()),
            mean_client_accuracy=float(accuracy.mean()),
            worst_client_accuracy=float(accuracy.min()),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return it as JSON-like data; numbers that do not exist may be NaN."""
        return {**asdict(self), "failed": [asdict(one) for one in self.failed]}

    @classmethod
    def from_mapping(cls, told: Mapping[str, Any]) -> Self:
        """Return the round that :meth:`to_mapping`, or an older fedtl, wrote.

        Raises:
            KeyError, TypeError: It is not such a mapping.
        """
        known = {field.name for field in fields(cls)}
        failed = tuple(FailedClient(**one) for one in told["failed"])
        return cls(**{name: told[name] for name in told.keys() & known} | {"failed": failed})
