"""``summary.json`` and its clients' rows: the conclusions of a run, as numbers.

Two questions are kept apart. *On their own data*: each client's held-out rows; on these
``federated``, ``local_only``, ``centralised``, ``personal``, ``corrected`` and ``zero_shot`` are
measured. *On new data*, ``on_new_data``: a test split that belongs to no client, as for a hospital
that joins later.
"""

from __future__ import annotations

import functools
import operator
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fedtl.federation.evaluation import (
    ClientTallies,
    Summary,
    Tally,
    field_metrics,
    on_new_data,
    on_own_data,
)
from fedtl.federation.outcome import Outcome
from fedtl.json_file import without_nan
from fedtl.results.centralised import Centralised
from fedtl.results.detail import ClientRow, Gain, OwnScore
from fedtl.results.versions import versions
from fedtl.statistics.intervals import gain_over_clients, mean_interval
from fedtl.statistics.verdicts import stands_up, verdicts

Tallies = Mapping[int, ClientTallies]

WAYS = ("federated", "corrected", "personal", "zero_shot", "local_only", "centralised")
"""Ways of learning, by their keys in a summary."""


def ways_scored(outcome: Outcome, centralised: Centralised | None) -> dict[str, Tallies]:
    """Return every client's scores by way of learning, if the run has them."""
    ways: dict[str, Tallies | None] = {
        "local_only": outcome.local_only,
        "federated": outcome.federated,
        "corrected": outcome.corrected,
        "personal": outcome.personal,
        "zero_shot": outcome.zero_shot,
        "centralised": None if centralised is None else centralised.tallies,
    }
    return {way: tallies for way, tallies in ways.items() if tallies is not None}


def client_rows(
    outcome: Outcome,
    centralised: Centralised | None,
    names: Sequence[str],
    hostile: Collection[int],
) -> list[ClientRow]:
    """Return a row per client, in partition-id order.

    Args:
        outcome: The outcome of the federation.
        centralised: The centralised reference; ``None`` if the data was never in one place.
        names: The clients' names.
        hostile: Partition ids of clients that the scenario makes hostile.
    """
    ways = ways_scored(outcome, centralised)
    judged = {
        way: verdicts({c: one for c, one in pairs.items() if c not in hostile})
        for way, pairs in outcome.pairs.items()
    }
    classes = len(outcome.roll.identity.classes)
    rows = []
    for client, name in enumerate(names):
        card = outcome.roll.cards.get(client)
        scores = {
            way: _own_score(tallies[client].held_out)
            for way, tallies in ways.items()
            if client in tallies and tallies[client].held_out.total
        }
        gains = {}
        for way, pairs in outcome.pairs.items():
            told = pairs.get(client)
            if told is not None and (interval := told.interval) is not None:
                verdict = judged[way].get(client)
                if verdict and outcome.strategy.scores_all_rows:
                    ahead, behind = scores[way].interval, scores["local_only"].interval
                    if told.gain < 0:
                        ahead, behind = behind, ahead
                    examples = ways[way][client].held_out.examples
                    if not stands_up(verdict, ahead, behind, examples):
                        verdict = "no clear difference"
                gains[way] = Gain(told.gain, interval, verdict, told)
        rows.append(
            ClientRow(
                client=client,
                name=name,
                examples=card.examples if card else 0,
                held_out=card.held_out if card else 0,
                label_counts=np.array(card.label_counts if card else [0] * classes, np.int64),
                scores=scores,
                gains=gains,
                method=outcome.methods.get(client, ""),
            )
        )
    return rows


def _own_score(tally: Tally) -> OwnScore:
    interval = tally.clusters.interval
    assert interval is not None
    return OwnScore(
        tally.accuracy,
        tally.balanced_accuracy,
        tally.right,
        tally.total,
        interval,
        tally.metrics,
    )


def run_summary(
    outcome: Outcome,
    centralised: Centralised | None,
    rows: Sequence[ClientRow],
    *,
    sha256: str,
    seconds: Mapping[str, float],
    peak_mb: float,
) -> dict[str, Any]:
    """Return what ``summary.json`` holds; NaN, which JSON lacks, is ``None``.

    ``federated``, ``local_only``, ``centralised`` and, where there are, ``personal``,
    ``corrected`` and ``zero_shot``: the attributes of
    :class:`fedtl.federation.evaluation.Summary`, on own data.
    ``on_new_data``: the same for the test split, ``None`` without one. ``gains``: per way of the
    federation, its gain over local-only for all clients together, with its interval over clients,
    and how many clients are better or worse off. ``harmed_clients``: partition ids of clients that
    are worse off with the heads they would use. ``centralised_training``: the run's own training on
    all data in one place, over shuffles.
    """
    ways = ways_scored(outcome, centralised)
    classes = outcome.roll.identity.classes
    own = {
        way: {
            **asdict(on_own_data(list(tallies.values()))),
            "metrics": _metrics([one.held_out for one in tallies.values()], classes),
        }
        for way, tallies in ways.items()
    }
    strategy = outcome.strategy
    used = "personal" if outcome.personal is not None else "federated"
    summary: dict[str, Any] = without_nan(
        {
            "strategy": strategy.config.strategy,
            "rounds": outcome.rounds,
            "clients": len(rows),
            "scored_on": _own_data(own["local_only"], all_rows=strategy.scores_all_rows),
            "own_data_rows": "all" if strategy.scores_all_rows else "held-out",
            "note": strategy.note,
            "global_head": strategy.global_head,
            **{way: own.get(way) for way in ("federated", "personal", "local_only", "centralised")},
            "corrected": own.get("corrected"),
            "zero_shot": own.get("zero_shot"),
            "on_new_data": _new_data(ways, strategy.config.holdout_name, classes),
            "gains": {way: _gain(way, rows) for way, told in outcome.pairs.items() if told},
            "harmed_clients": [row.client for row in rows if row.verdict(used) == "worse"],
            "local_only_methods": dict(Counter(row.method for row in rows if row.method)),
            "centralised_method": None if centralised is None else centralised.method,
            "centralised_training": None if centralised is None else _training(centralised),
            "failures": [
                {"round": server_round, "client": client, "reason": reason}
                for server_round, client, reason in outcome.failures
            ],
            "bytes_up": outcome.bytes_up,
            "bytes_down": outcome.bytes_down,
            "seconds": {
                **seconds,
                "per_round_median": statistics.median(outcome.seconds) if outcome.seconds else 0.0,
            },
            "peak_rss_mb": round(peak_mb, 1),
            "head_sha256": sha256,
            "temperature": outcome.temperature,
            "calibration_error_with_temperature": outcome.tempered_error,
            "backbone_fingerprint": outcome.roll.identity.fingerprint,
            "classes": list(outcome.roll.identity.classes),
            "versions": versions(strategy.config.backbone),
        }
    )
    return summary


def _own_data(local_only: Mapping[str, Any], *, all_rows: bool) -> str:
    """Return which rows scores on own data come from, for people."""
    examples, groups = local_only["examples"], local_only["groups"]
    grouped = f" in {groups:,} groups" if groups != examples else ""
    if all_rows:
        return f"all clients' own examples, each left out ({examples:,}{grouped})"
    return f"all clients' held-out rows ({examples:,}{grouped})"


def _metrics(
    tallies: Sequence[Tally], classes: Sequence[str], *, shared: bool = False
) -> dict[str, Any] | None:
    found = field_metrics(tallies, shared=shared)
    if found is None:
        return None
    told = asdict(found)
    for name in ("auroc", "f1"):
        told[name] = dict(zip(classes, told[name], strict=True))
    return told


def _new_data(
    ways: Mapping[str, Tallies], holdout_site: str, classes: Sequence[str]
) -> dict[str, Any] | None:
    scored: dict[str, Summary] = {}
    for way, tallies in ways.items():
        summary = on_new_data(list(tallies.values()))
        if summary is not None:
            scored[way] = summary
    if not scored:
        return None
    first = scored.get("federated") or next(iter(scored.values()))
    without = f" without {holdout_site}" if holdout_site else ""
    grouped = f" in {first.groups:,} groups" if first.groups != first.examples else ""
    counted = f"{first.examples:,} examples{grouped}"
    return {
        "scored_on": f"a test split that belongs to no client{without} ({counted})",
        "examples": first.examples,
        **{
            way: {
                **asdict(scored[way]),
                "metrics": _metrics([one.test for one in ways[way].values()], classes, shared=True),
            }
            if way in scored
            else None
            for way in ("federated", "personal", "zero_shot", "local_only", "centralised")
        },
    }


def _gain(way: str, rows: Sequence[ClientRow]) -> dict[str, Any]:
    """Return the gain of one way over local-only for all honest clients together."""
    told = [row.gains[way] for row in rows if way in row.gains and row.gains[way].verdict]
    pairs = [gain.pairs for gain in told]
    interval = gain_over_clients(pairs)
    count = Counter(gain.verdict for gain in told)
    return {
        "accuracy": functools.reduce(operator.add, pairs).gain if pairs else None,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "better": count["better"],
        "no_clear_difference": count["no clear difference"],
        "worse": count["worse"],
    }


def _training(centralised: Centralised) -> dict[str, Any]:
    told: dict[str, Any] = {"shuffles": len(centralised.trained)}
    for place, name in enumerate(("own_data", "new_data")):
        values = np.array(
            [np.nan if one[place] is None else one[place] for one in centralised.trained]
        )
        interval = mean_interval(values)
        told[name] = {
            "accuracy": float(values.mean()),
            "low": None if interval is None else interval.low,
            "high": None if interval is None else interval.high,
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        }
    return told
