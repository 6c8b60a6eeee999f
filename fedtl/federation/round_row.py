"""One round's line of a run: what happened in it, and how its clients scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import MetricRecord

from fedtl.federation.evaluation import RoundScore
from fedtl.federation.exchange import Phase
from fedtl.federation.journal import Row


def facts_of(phase: Phase, server_round: int, metrics: MetricRecord | None, seconds: float) -> Row:
    """Return what is known of a round before its head was scored.

    Args:
        phase: Its exchange.
        server_round: Round.
        metrics: What the strategy made of the clients' metrics; ``None`` if nobody sent any.
        seconds: That it took.
    """
    loss = float(metrics["train-loss"]) if metrics else float("nan")  # type: ignore[arg-type]
    return {
        "round": server_round,
        "clients": len(phase.clients),
        "train_loss": None if np.isnan(loss) else loss,
        "test_accuracy": None,
        "failed": [
            {"client": failed.client, "reason": failed.reason, "intended": failed.intended}
            for failed in phase.failures
        ],
        "bytes_up": phase.bytes_up,
        "bytes_down": phase.bytes_down,
        "seconds": seconds,
    }


def scores_of(told: Mapping[int, RoundScore]) -> Row:
    """Return the round's three accuracies and loss from the clients' held-out scores."""
    scored = [(one.held_out, one.loss, one.accuracy) for one in told.values() if one.held_out]
    if not scored:
        empty = ("loss", "accuracy", "mean_client_accuracy", "worst_client_accuracy")
        return dict.fromkeys(empty)
    count, loss, accuracy = (np.array(column, np.float64) for column in zip(*scored, strict=True))
    return {
        "loss": float(loss @ count / count.sum()),
        "accuracy": float(accuracy @ count / count.sum()),
        "mean_client_accuracy": float(accuracy.mean()),
        "worst_client_accuracy": float(accuracy.min()),
    }
