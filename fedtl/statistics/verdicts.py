"""Whether federation made a client better off, by a test whose false alarms are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.intervals import Interval, Pairs

Verdict = Literal["better", "no clear difference", "worse"]

SIGNIFICANT = 0.05


def verdicts(pairs: Mapping[int, Pairs]) -> dict[int, Verdict]:
    """Return each client's verdict on our head against its own.

    One-sided exact McNemar tests for *worse* and for *better*, each corrected for the number of
    clients by Holm's method: if no client is worse off, the chance that any is called *worse* is at
    most .05. Whole groups are what is counted, so that a patient with many pictures has one vote.

    Args:
        pairs: What both heads got right, by client; clients without any are left out.
    """
    clients = [client for client, counts in pairs.items() if counts.examples]
    worse = holm([_tail(pairs[c].groups_other, pairs[c].groups_ours) for c in clients])
    better = holm([_tail(pairs[c].groups_ours, pairs[c].groups_other) for c in clients])
    found: dict[int, Verdict] = {}
    for client, down, up in zip(clients, worse, better, strict=True):
        if down < SIGNIFICANT:
            found[client] = "worse"
        else:
            found[client] = "better" if up < SIGNIFICANT else "no clear difference"
    return found


def beats_guessing(accuracy: Interval, examples: NDArray[np.int64]) -> bool:
    """Return whether a head is surely better than one that names the most frequent class.

    Scores that leave out rows ask for it. Without anything to learn a head names the class that is
    more frequent among the other rows, so that its errors come all together and are no independent
    draws: a McNemar test then calls one of ten clients *better* in up to a third of simulated
    federations. With something to learn, of accuracies from 60 %, in at most 3 of 100.

    Args:
        accuracy: The 95 % interval of the better head's accuracy.
        examples: Scored examples of each class, shape ``(K,)``.
    """
    return accuracy.low > int(examples.max()) / int(examples.sum())


def _tail(wins: int, losses: int) -> float:
    """Return the chance of at least ``wins`` heads among as many throws of a fair coin."""
    from scipy.special import bdtrc

    return 1.0 if wins == 0 else float(bdtrc(wins - 1, wins + losses, 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method; NaN stays NaN.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6, 1979.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected
