"""The files and the result that close a run, whichever way it was run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.csv_cells import csv_text
from fedtl.data.grey_scale import GreyScale
from fedtl.data.understood import Understood
from fedtl.federation.outcome import Outcome
from fedtl.json_file import without_nan
from fedtl.observers.pseudonyms import warnings_of
from fedtl.observers.run_folder import RunFolder
from fedtl.report.html import write_report
from fedtl.results.centralised import Centralised
from fedtl.results.over_seeds import SeedScores, over_seeds, seed_rows
from fedtl.results.result import ClientRow, ClientSamples, Gain, OwnScore, RunResult, SitePanel
from fedtl.results.summary import WAYS, client_rows, run_summary
from fedtl.results.unseen import UnseenSite, head_rows, unseen_site
from fedtl.transfer.head_file import TrainedHead

_WITH_METRICS = ("federated", "local_only")


def close_run(
    folder: RunFolder,
    outcome: Outcome,
    *,
    centralised: Centralised | None,
    client_names: Sequence[str],
    samples: Sequence[ClientSamples],
    seconds: Mapping[str, float],
    peak_mb: float,
    panel: SitePanel | None = None,
    hostile: Collection[int] = (),
    other_seeds: Sequence[SeedScores] = (),
    unseen_sites: Sequence[UnseenSite] = (),
    understood: Understood | None = None,
    scale: GreyScale | None = None,
) -> RunResult:
    """Write head, tables, summary and report; return what they say.

    Args:
        folder: Where to.
        outcome: What the federation came to.
        centralised: What all data in one place would give; ``None`` where the data never met.
        client_names: In partition-id order.
        samples: The first few clients' pictures.
        seconds: ``total``, ``start_up``, ``features`` and ``rounds``.
        peak_mb: Largest memory of all processes together, in MiB.
        panel: Pictures by site and class; a server of real sites has none.
        hostile: Partition ids of clients that the scenario makes hostile.
        other_seeds: What the same run gave with other seeds.
        unseen_sites: What runs without one site each gave on that site.
        understood: Counts of the data; ``None`` where they are not known here.
        scale: What is black and white in pictures of more than 8 bits; the configured one if it
            is not known here.

    Raises:
        FedtlError: A file cannot be written.
    """
    identity = outcome.roll.identity
    head = TrainedHead(
        outcome.arrays,
        outcome.standardisation,
        identity.classes,
        identity.fingerprint,
        outcome.roll.class_counts,
        outcome.temperature or 1.0,
        scale or _configured_scale(folder.config),
    )
    if outcome.strategy.global_head:
        folder.write("head.safetensors", head.to_bytes())
    rows = client_rows(outcome, centralised, client_names, hostile)
    label_counts = np.array([row.label_counts for row in rows])
    unseen = None
    if folder.config.holdout_site:
        unseen = unseen_site(
            folder.config.holdout_name,
            federated=outcome.federated,
            local_only=outcome.local_only,
            centralised=None if centralised is None else centralised.tallies,
            client_names=client_names,
            classes=identity.classes,
            label_counts=label_counts.sum(0),
        )
    ways = ["local_only", "federated", "centralised"]
    ways += [way for way in ("corrected", "personal") if getattr(outcome, way) is not None]
    folder.write("clients.csv", _csv(rows, ways, identity.classes, unseen))
    summary = run_summary(
        outcome,
        centralised,
        rows,
        sha256=head.sha256(),
        seconds=seconds,
        peak_mb=peak_mb,
    )
    if other_seeds:
        own = {way: summary[way] for way in WAYS if summary[way] is not None}
        new = {w: one for w, one in (summary["on_new_data"] or {}).items() if w in WAYS and one}
        scores = [SeedScores(folder.config.seed, own, new), *other_seeds]
        summary["over_seeds"] = over_seeds(scores)
        folder.write_csv("seeds.csv", seed_rows(scores))
    if unseen_sites:
        summary["unseen_sites"] = [without_nan(site.to_mapping()) for site in unseen_sites]
        folder.write_csv("unseen_sites.csv", head_rows(unseen_sites))
    if understood is not None:
        summary["data"] = understood.to_mapping()
    if unseen is not None:
        summary["unseen_site"] = without_nan(unseen.to_mapping())
    folder.write("summary.json", _json(summary))
    result = RunResult(
        config={**folder.config.to_mapping(), "holdout-site": folder.config.holdout_name},
        classes=identity.classes,
        client_names=tuple(client_names),
        label_counts=label_counts,
        rounds=folder.rounds,
        clients=rows,
        confusion=_confusion(outcome),
        egress=folder.egress_totals(),
        samples=samples,
        summary=summary,
        warnings=warnings_of(folder),
        panel=panel,
        unseen=unseen,
        unseen_sites=unseen_sites,
        understood=understood,
    )
    write_report(folder.path / "report.html", result)
    folder.seal()
    return result


def _confusion(outcome: Outcome) -> NDArray[np.int64] | None:
    """Return the federated head's confusion matrix on clients' own held-out examples."""
    tallies = outcome.federated.values()
    parts = [told.held_out for told in tallies if told.held_out.total]
    matrices = [part.confusion for part in parts if part.confusion is not None]
    if not matrices or len(matrices) < len(parts):
        return None
    total: NDArray[np.int64] = np.sum(matrices, axis=0, dtype=np.int64)
    return total


def _csv(
    rows: Sequence[ClientRow],
    ways: Sequence[str],
    classes: Sequence[str],
    unseen: UnseenSite | None,
) -> str:
    gaining = [way for way in ("federated", "corrected", "personal") if way in ways]
    header = ["client", "name", "examples", "held_out"]
    for way in ways:
        header += [f"{way}_{kind}" for kind in ("accuracy", "low", "high", "balanced_accuracy")]
    for way in gaining:
        header += [f"{way}_{kind}" for kind in ("gain", "gain_low", "gain_high", "verdict")]
        header += [f"{way}_{kind}" for kind in ("both", "only_local", "only_ours", "neither")]
    header += [f"{way}_{kind}" for way in _WITH_METRICS for kind in ("auroc", "f1")]
    header += ["gain", "harmed", "local_only_method"]
    measures = ("accuracy", "balanced_accuracy") if unseen is not None else ()
    header += [f"local_only_unseen_{measure}" for measure in measures]
    lines: list[list[Any]] = [[*header, *(f"label:{name}" for name in classes)]]
    for row in rows:
        own = None if unseen is None else unseen.alone.get(row.client)
        cells = [row.client, row.name, row.examples, row.held_out]
        for way in ways:
            cells += _score_cells(row.scores.get(way))
        for way in gaining:
            cells += _gain_cells(row.gains.get(way))
        for way in _WITH_METRICS:
            told = row.scores[way].metrics if way in row.scores else None
            figures = (None, None) if told is None else (told.macro_auroc, told.macro_f1)
            cells += map(_cell, figures)
        used = "personal" if "personal" in row.gains else "federated"
        cells += [_cell(row.gain(used)), "yes" if row.verdict(used) == "worse" else "no"]
        cells += [row.method, *(_cell(getattr(own, measure, None)) for measure in measures)]
        lines.append([*cells, *row.label_counts.tolist()])
    return csv_text(lines)


def _score_cells(score: OwnScore | None) -> list[str]:
    if score is None:
        return [""] * 4
    low, high = score.interval
    return [_cell(value) for value in (score.accuracy, low, high, score.balanced_accuracy)]


def _gain_cells(gain: Gain | None) -> list[str]:
    if gain is None:
        return [""] * 8
    pairs = gain.pairs
    counts = (pairs.both, pairs.only_other, pairs.only_ours, pairs.neither)
    figures = [_cell(value) for value in (gain.difference, *gain.interval)]
    return [*figures, gain.verdict or "hostile", *map(str, counts)]


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"


def _json(summary: Mapping[str, Any]) -> str:
    import json

    return json.dumps(summary, indent=2) + "\n"


def _configured_scale(config: RunConfig) -> GreyScale:
    return GreyScale() if config.grey_limits is None else GreyScale.within(config.grey_limits)
