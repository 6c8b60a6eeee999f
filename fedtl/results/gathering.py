"""From a federation's outcome to its result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.grey_scale import GreyScale
from fedtl.data.schema import Schema
from fedtl.data.understood import Understood
from fedtl.federation.outcome import Outcome
from fedtl.federation.round_row import Round
from fedtl.json_file import without_nan
from fedtl.results.centralised import Centralised
from fedtl.results.detail import ClientSamples, EgressTotal, RunDetail, SitePanel
from fedtl.results.over_seeds import SeedScores, over_seeds
from fedtl.results.result import RunResult
from fedtl.results.summary import WAYS, client_rows, run_summary
from fedtl.results.unseen import UnseenSite, unseen_site
from fedtl.transfer.head_file import TrainedHead


@dataclass(frozen=True)
class Told:
    """What a run knows besides its outcome.

    Attributes:
        client_names: In partition-id order.
        rounds: One per round.
        egress: What crossed the sites' borders.
        warnings: One sentence each.
        seconds: ``total`` and the parts that are known.
        peak_mb: Largest memory of all processes together, in MiB.
        hostile: Partition ids of clients that the scenario makes hostile.
        other_seeds: Results of the same run with other seeds.
        unseen_sites: Results of runs without one site each, on that site.
        understood: Counts of the data; ``None`` if they are not known here.
        scale: What is black and white in pictures of more than 8 bits; the configured one if it
            is not known here.
        schema: What the columns of a table's rows are; ``None`` for other inputs, or if it is not
            known here.
        samples: The first few clients' pictures.
        panel: Pictures by site and class; a server of real sites has none.
    """

    client_names: Sequence[str]
    rounds: Sequence[Round]
    egress: Sequence[EgressTotal]
    warnings: Sequence[str]
    seconds: Mapping[str, float]
    peak_mb: float
    hostile: Collection[int] = ()
    other_seeds: Sequence[SeedScores] = ()
    unseen_sites: Sequence[UnseenSite] = ()
    understood: Understood | None = None
    scale: GreyScale | None = None
    schema: Schema | None = None
    samples: Sequence[ClientSamples] = ()
    panel: SitePanel | None = None


def result_of(
    config: RunConfig, outcome: Outcome, centralised: Centralised | None, told: Told
) -> RunResult:
    """Return a run's result.

    Args:
        config: The run's.
        outcome: The outcome of the federation.
        centralised: The centralised reference; ``None`` if the data was never in one place.
        told: What else is known.
    """
    identity = outcome.roll.identity
    head = TrainedHead(
        outcome.arrays,
        outcome.standardisation,
        identity.classes,
        identity.fingerprint,
        outcome.roll.class_counts,
        outcome.temperature or 1.0,
        told.scale or _configured_scale(config),
        told.schema,
    )
    rows = client_rows(outcome, centralised, told.client_names, told.hostile)
    label_counts = np.array([row.label_counts for row in rows])
    unseen = None
    if config.holdout_site:
        unseen = unseen_site(
            config.holdout_name,
            federated=outcome.federated,
            local_only=outcome.local_only,
            centralised=None if centralised is None else centralised.tallies,
            zero_shot=outcome.zero_shot,
            client_names=told.client_names,
            classes=identity.classes,
            label_counts=label_counts.sum(0),
        )
    figures = run_summary(
        outcome,
        centralised,
        rows,
        sha256=head.sha256(),
        seconds=told.seconds,
        peak_mb=told.peak_mb,
    )
    seeds: list[SeedScores] = []
    if told.other_seeds:
        own = {way: figures[way] for way in WAYS if figures[way] is not None}
        new = {w: one for w, one in (figures["on_new_data"] or {}).items() if w in WAYS and one}
        seeds = [SeedScores(config.seed, own, new), *told.other_seeds]
        figures["over_seeds"] = over_seeds(seeds)
    if told.unseen_sites:
        figures["unseen_sites"] = [without_nan(site.to_mapping()) for site in told.unseen_sites]
    if told.understood is not None:
        figures["data"] = told.understood.to_mapping()
    if unseen is not None:
        figures["unseen_site"] = without_nan(unseen.to_mapping())
    detail = RunDetail(
        config={**config.to_mapping(), "holdout-site": config.holdout_name},
        classes=identity.classes,
        client_names=tuple(told.client_names),
        label_counts=label_counts,
        rounds=told.rounds,
        clients=rows,
        confusion=_confusion(outcome),
        egress=told.egress,
        samples=told.samples,
        summary=figures,
        warnings=told.warnings,
        panel=told.panel,
        unseen=unseen,
        unseen_sites=told.unseen_sites,
        understood=told.understood,
        seeds=seeds,
        pooled_training=() if centralised is None else centralised.trained,
    )
    return RunResult(
        config=config,
        figures=figures,
        history=tuple(told.rounds),
        warnings=tuple(told.warnings),
        trained=head if outcome.strategy.global_head else None,
        detail=detail,
    )


def _confusion(outcome: Outcome) -> NDArray[np.int64] | None:
    """Return the federated head's confusion matrix on clients' own held-out rows."""
    tallies = outcome.federated.values()
    parts = [told.held_out for told in tallies if told.held_out.total]
    matrices = [part.confusion for part in parts if part.confusion is not None]
    if not matrices or len(matrices) < len(parts):
        return None
    total: NDArray[np.int64] = np.sum(matrices, axis=0, dtype=np.int64)
    return total


def _configured_scale(config: RunConfig) -> GreyScale:
    return GreyScale() if config.grey_limits is None else GreyScale.within(config.grey_limits)
