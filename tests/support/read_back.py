"""Figures of a run as people read them, from its tables and by scipy."""

from __future__ import annotations

import html
import re

import numpy as np
from numpy.typing import NDArray
from numpy_learning import SGD
from scipy.stats import binomtest
from unequal_run import EPOCHS, SIZES, Ran, Rows

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
    verdicts = dict.fromkeys(rows, "no clear difference")
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


def share_of(right: int, examples: int) -> str:
    return f"{right} of {examples}" if examples < 100 else pc(right / examples)


def interval(right: int, examples: int) -> str:
    """Return Wilson's interval as people read it."""
    low, high = binomtest(right, examples).proportion_ci(method="wilson")
    return f"{100 * low:.1f} to {100 * high:.1f}"


def bar_titles(ran: Ran, *ways: str) -> dict[str, list[str]]:
    """Return what each client's bar of each way says, way by way, from the table of clients."""
    titles: dict[str, list[str]] = {}
    for way in ways:
        verdicts = mcnemar(ran, way) if way != "local_only" else {}
        for name, row in told(ran).items():
            n = int(row["held_out"])
            hits = round(float(row[f"{way}_accuracy"]) * n)
            text = f"{name}, {way.replace('_', '-')}: {hits} of {n} right ({pc(hits / n)}, "
            text += f"95 % interval {interval(hits, n)})"
            if verdicts:
                own = int(row[f"{way}_only_ours"]) - int(row[f"{way}_only_local"])
                low, high = (signed(float(row[f"{way}_gain_{end}"])) for end in ("low", "high"))
                text += f"; gain {signed(own / n)} points ({low} to {high}), {verdicts[name]}"
            titles.setdefault(way, []).append(text)
    return titles


def bars_of(ran: Ran, page: str, ways: int) -> list[dict[str, tuple[float, float]]]:
    """Return, for each way, place and width of each bar in the chart of clients by its title."""
    found = re.findall(r'<g id="clients-(bar-(\d+)-\d+)"><title>([^<]*)</title>', page)
    assert len(found) == len(ran.bars)
    return [
        {html.unescape(title): ran.bars[gid] for gid, at, title in found if int(at) == place}
        for place in range(ways)
    ]


def said_by(ran: Ran) -> dict[str, list[Rows]]:
    """Return what each client's heads of a run of one round say of every row of the data.

    Heads that all share are there once for each.
    """
    x, y, parts = ran.data["x"].astype(np.float64), ran.data["y"], ran.parts()
    mean, scale = ran.standardisation[-1]
    z, sgd = (x - mean) * scale, SGD.of(ran.config())
    start = ran.heads[-1]["weight"], ran.heads[-1]["bias"]
    personal = []
    for client, (_, train, _) in enumerate(parts):
        # Shuffled as in the round after the last.
        (weight, bias), _ = sgd.trained(start, z, y, train, client, at=2, epochs=EPOCHS)
        personal.append((z @ weight.T + bias).argmax(1))
    # These are held against numpy in test_whole_run.py.
    lone = [(x @ one.weight.T + one.bias).argmax(1) for one in ran.lone]
    return {
        "local_only": lone[:-1],
        "federated": [ran.predicted(np.arange(len(x)))] * len(parts),
        "personal": personal,
        "centralised": [lone[-1]] * len(parts),
    }
