"""Figures of a run as people read them, from its tables and by scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from unequal_run import SIZES, Ran

NAMES = sorted(SIZES)


def pc(share: float) -> str:
    return f"{100 * share:.1f}%"


def signed(difference: float) -> str:
    told = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if told[1:] == "0.0" else told


def right(ran: Ran) -> dict[str, NDArray[np.bool_]]:
    """Return which of each client's held-out rows the final head gets right."""
    return {name: ran.data["y"][held] == ran.predicted(held) for name, _, held in ran.parts()}


def told(ran: Ran) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in ran.table("clients.csv")}


def mcnemar(ran: Ran, way: str = "federated") -> dict[str, str]:
    """Return verdicts by exact one-sided tests of scipy with Holm's correction, from the counts."""
    rows = told(ran)
    verdicts = dict.fromkeys(NAMES, "no clear difference")
    for verdict, (ahead, behind) in {
        "better": ("ours", "local"),
        "worse": ("local", "ours"),
    }.items():
        p = {}
        for name, row in rows.items():
            wins, losses = int(row[f"{way}_only_{ahead}"]), int(row[f"{way}_only_{behind}"])
            trials = wins + losses
            p[name] = binomtest(wins, trials, alternative="greater").pvalue if trials else 1.0
        for rank, name in enumerate(sorted(p, key=p.__getitem__)):
            if p[name] * (len(p) - rank) >= 0.05:
                break
            verdicts[name] = verdict
    return verdicts
