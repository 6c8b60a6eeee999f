"""Whether federation made a client better off, by a test whose false alarms are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.intervals import Interval, Pairs, wilson

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


def stands_up(
    verdict: Verdict, ahead: Interval, behind: Interval, examples: NDArray[np.int64]
) -> bool:
    """Return whether a verdict on scores that leave out rows is more than a guess against another.

    Without anything to learn a head names the class that is more frequent among the other rows, so
    that its errors come all together and are no independent draws: a McNemar test then calls one of
    ten clients *better* in up to half of simulated federations. So the better head must be surely
    better than naming the most frequent class. With something to learn, of accuracies from 60 %,
    false alarms are in at most 3 of 100. A client whose head is surely worse than that is harmed,
    whatever the other head does.

    Args:
        verdict: What the test says.
        ahead: The 95 % interval of the better head's accuracy.
        behind: Of the other's.
        examples: Scored examples of each class, shape ``(K,)``.
    """
    second, first = np.sort(np.append(examples, 0))[-2:].tolist()
    share = first / int(examples.sum())
    # Among classes that are about as frequent, the row that is left out may decide which is more
    # so, and every guess is then wrong.
    sure = wilson(first / (first + second), first + second).low > 1 / 2
    return ahead.low > share or (verdict == "worse" and sure and behind.high < share)


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
