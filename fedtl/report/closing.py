"""The files and the result that close a run, whichever way it was run."""

from __future__ import annotations

import csv
import io
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fedtl
from fedtl.federation.evaluation import ClientTallies, Tally, scored_on, summarise
from fedtl.federation.server import Outcome
from fedtl.report.html import write_report
from fedtl.report.result import ClientRow, ClientSamples, RunResult, SitePanel
from fedtl.report.run_folder import RunFolder, without_nan
from fedtl.report.unseen import UnseenSite, unseen_site
from fedtl.transfer.head_file import TrainedHead


def close_run(
    folder: RunFolder,
    outcome: Outcome,
    *,
    centralised: Mapping[int, ClientTallies] | None,
    client_names: Sequence[str],
    samples: Sequence[ClientSamples],
    seconds: Mapping[str, float],
    peak_mb: float,
    panel: SitePanel | None = None,
) -> RunResult:
    """Write head, tables, summary and report; return what they say.

    Args:
        folder: Where to.
        outcome: What the federation came to.
        centralised: Scores of the centralised head; ``None`` where the data never met.
        client_names: In partition-id order.
        samples: The first few clients' pictures.
        seconds: ``total``, ``start_up``, ``features`` and ``rounds``.
        peak_mb: Largest memory of all processes together, in MiB.
        panel: Pictures by site and class; a server of real sites has none.

    Raises:
        FedtlError: A file cannot be written.
    """
    identity = outcome.roll.identity
    head = TrainedHead(
        outcome.arrays, outcome.standardisation, identity.classes, identity.fingerprint
    )
    if outcome.strategy.global_head:
        folder.write("head.safetensors", head.to_bytes())
    rows = _client_rows(outcome, centralised, client_names, len(identity.classes))
    label_counts = np.array([row.label_counts for row in rows])
    unseen = None
    if folder.config.holdout_site:
        unseen = unseen_site(
            folder.config.holdout_site,
            federated=outcome.federated,
            local_only=outcome.local_only,
            centralised=centralised,
            client_names=client_names,
            classes=identity.classes,
            label_counts=label_counts.sum(0),
        )
    ways = ["local_only", "federated", "centralised"]
    if outcome.personal is not None:
        ways.append("personal")
    folder.write("clients.csv", _csv(rows, ways, identity.classes, unseen))
    summary = _summary(outcome, centralised, rows, head.sha256(), seconds, peak_mb)
    if unseen is not None:
        summary["unseen_site"] = without_nan(unseen.to_mapping())
    folder.write("summary.json", _json(summary))
    result = RunResult(
        config=folder.config.to_mapping(),
        classes=identity.classes,
        client_names=tuple(client_names),
        label_counts=label_counts,
        rounds=folder.rounds,
        clients=rows,
        confusion=_confusion(outcome),
        egress=folder.egress_totals(),
        samples=samples,
        summary=summary,
        warnings=folder.warnings,
        panel=panel,
        unseen=unseen,
    )
    write_report(folder.path / "report.html", result)
    return result


def _client_rows(
    outcome: Outcome,
    centralised: Mapping[int, ClientTallies] | None,
    names: Sequence[str],
    classes: int,
) -> list[ClientRow]:
    return [
        _client_row(
            client,
            name,
            outcome,
            None if centralised is None else centralised[client].held_out,
            classes,
        )
        for client, name in enumerate(names)
    ]


def _client_row(
    client: int, name: str, outcome: Outcome, centralised: Tally | None, classes: int
) -> ClientRow:
    card = outcome.roll.cards.get(client)
    alone = outcome.local_only[client].held_out if client in outcome.local_only else None
    federated = outcome.federated[client].held_out if client in outcome.federated else None
    own = outcome.personal or {}
    personal = own[client].held_out if client in own else None
    before, after = _accuracy(alone), _accuracy(personal or federated)
    gain = None if before is None or after is None else after - before
    return ClientRow(
        client=client,
        name=name,
        examples=card.examples if card else 0,
        held_out=card.held_out if card else 0,
        label_counts=np.array(card.label_counts if card else [0] * classes, np.int64),
        local_only_accuracy=before,
        federated_accuracy=_accuracy(federated),
        centralised_accuracy=_accuracy(centralised),
        local_only_balanced_accuracy=_balanced(alone),
        federated_balanced_accuracy=_balanced(federated),
        centralised_balanced_accuracy=_balanced(centralised),
        gain=gain,
        harmed=gain is not None and gain < 0,
        personal_accuracy=_accuracy(personal),
        personal_balanced_accuracy=_balanced(personal),
    )


def _accuracy(tally: Tally | None) -> float | None:
    return tally.accuracy if tally is not None and tally.total else None


def _balanced(tally: Tally | None) -> float | None:
    return tally.balanced_accuracy if tally is not None and tally.total else None


def _confusion(outcome: Outcome) -> NDArray[np.int64] | None:
    """Return the global head's confusion matrix on what ``accuracy`` was measured on.

    Without a global head, that of clients' own heads on their held-out examples.
    """
    tallies = outcome.federated.values()
    tested = next((told.test for told in tallies if told.test.total), None)
    if tested is not None and outcome.strategy.global_head:
        parts = [tested]
    else:
        parts = [told.held_out for told in tallies if told.held_out.total]
    matrices = [part.confusion for part in parts if part.confusion is not None]
    if not matrices or len(matrices) < len(parts):
        return None
    total: NDArray[np.int64] = np.sum(matrices, axis=0, dtype=np.int64)
    return total


def _summary(
    outcome: Outcome,
    centralised: Mapping[int, ClientTallies] | None,
    rows: Sequence[ClientRow],
    sha256: str,
    seconds: Mapping[str, float],
    peak_mb: float,
) -> dict[str, Any]:
    summary: dict[str, Any] = without_nan(
        {
            "strategy": outcome.strategy.config.strategy,
            "rounds": outcome.rounds,
            "clients": len(rows),
            "scored_on": scored_on(outcome.federated, outcome.strategy.config.holdout_site),
            "alone_note": outcome.strategy.alone_note,
            "note": outcome.strategy.note,
            "global_head": outcome.strategy.global_head,
            "federated": _accuracies(outcome.federated),
            "personal": _accuracies(outcome.personal),
            "local_only": _accuracies(outcome.local_only),
            "centralised": _accuracies(centralised),
            "harmed_clients": [row.client for row in rows if row.harmed],
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
            "backbone_fingerprint": outcome.roll.identity.fingerprint,
            "classes": list(outcome.roll.identity.classes),
            "versions": _versions(),
        }
    )
    return summary


def _accuracies(clients: Mapping[int, ClientTallies] | None) -> dict[str, float] | None:
    return None if clients is None else asdict(summarise(list(clients.values())))


def _versions() -> dict[str, str]:
    packages = ("flwr", "flwr-datasets", "numpy", "ray", "torch", "torchvision")
    return {
        "fedtl": fedtl.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _csv(
    rows: Sequence[ClientRow],
    ways: Sequence[str],
    classes: Sequence[str],
    unseen: UnseenSite | None,
) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    scores = [f"{way}_{kind}" for way in ways for kind in ("accuracy", "balanced_accuracy")]
    measures = ("accuracy", "balanced_accuracy") if unseen is not None else ()
    header = ["client", "name", "examples", "held_out", *scores, "gain", "harmed"]
    header += [f"local_only_unseen_{measure}" for measure in measures]
    writer.writerow([*header, *(f"label:{name}" for name in classes)])
    for row in rows:
        own = None if unseen is None else unseen.alone.get(row.client)
        writer.writerow(
            [
                row.client,
                row.name,
                row.examples,
                row.held_out,
                *(_cell(getattr(row, score)) for score in scores),
                _cell(row.gain),
                "yes" if row.harmed else "no",
                *(_cell(getattr(own, measure, None)) for measure in measures),
                *row.label_counts.tolist(),
            ]
        )
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"


def _json(summary: Mapping[str, Any]) -> str:
    import json

    return json.dumps(summary, indent=2) + "\n"
