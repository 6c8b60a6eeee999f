"""``MODEL_CARD.md`` beside an exported model: what it is, how it was learnt, how good it is.

It tells what the run's own folder tells, in the form that Hugging Face's hub reads: M. Mitchell et
al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedtl.config import RunConfig
from fedtl.csv_cells import read_table
from fedtl.observers.remembered import Remembered
from fedtl.plain_models.licence import OF_EMBEDDINGS, licence_of
from fedtl.plain_models.plain_model import PlainModel
from fedtl.report.answer import verdict_of
from fedtl.report.page import environment
from fedtl.results.result import RunResult
from fedtl.wording import (
    MISSING,
    byte_size,
    count_of,
    percent,
    points,
    points_span,
    printable,
    shortened,
    span,
)

_MOST_CLIENTS, _MOST_CLASSES = 50, 200
_WAYS = {
    "local_only": "local-only: each client's own examples alone",
    "zero_shot": "zero-shot: a head of the classes' names alone",
    "federated": "federated: this model",
    "corrected": "corrected: this model, read with each client's own mix of classes",
    "personal": "personal: a head of each client's own, which is not in this export",
    "centralised": "centralised: all examples in one place, the reference",
}
_TASKS = {
    "image": "image-classification",
    "text": "text-classification",
    "recording": "audio-classification",
    "row": "tabular-classification",
}
_MARKS = re.compile(r"([\\`*_{}\[\]<>|~&])")
_LONGEST_CONTENTS = 120


@dataclass(frozen=True)
class Written:
    """What was written beside the card.

    Attributes:
        target: The form of the weights.
        file: Their name.
        needs: What the script needs, as ``pip install`` calls it.
        inputs: How the script's inputs are prepared, a sentence.
        probabilities: Whether a softmax of the outputs are probabilities.
        told: What else the user should know, a sentence each.
        simulated: Whether the run's clients were simulated; ``None`` if that is not known.
    """

    target: str
    file: str
    needs: Sequence[str]
    inputs: str
    probabilities: bool
    told: Sequence[str]
    simulated: bool | None


def model_card(result: RunResult, plain: PlainModel, written: Written) -> str:
    """Return the card.

    Args:
        result: A finished run, read from its folder.
        plain: Its model.
        written: What lies beside the card.
    """
    config, figures = result.config, result.figures
    licence = OF_EMBEDDINGS if plain.backbone is None else licence_of(config)
    data = _data_name(config)
    backbone = plain.backbone.name if plain.backbone is not None else "none (embeddings)"
    clients = result.clients
    return (
        environment()
        .overlay(autoescape=False, keep_trailing_newline=True)
        .get_template("model_card.md")
        .render(
            # Lines of YAML begin with blanks, which other text loses.
            front=[Markup(line) for line in _front(result, plain, licence.identifier, data)],
            title=_marked(f"{data}, {config.strategy} on {backbone}"),
            data=_marked(data),
            unit=plain.kind.unit,
            data_counts=_counts(figures),
            config=config,
            strategy=_marked(config.strategy),
            trained=_trained(config),
            settings=_settings(config, pictures=plain.kind.unit == "image"),
            rounds=count_of(figures["rounds"], "round"),
            clients=_clients(clients),
            clients_count=count_of(len(clients), "client"),
            clients_left_out=max(0, len(clients) - _MOST_CLIENTS),
            classes=[_marked(name) for name in plain.classes[:_MOST_CLASSES]],
            classes_left_out=max(0, len(plain.classes) - _MOST_CLASSES),
            verdict=verdict_of(figures),
            note=_marked(figures.get("note") or ""),
            scored_on=_marked(figures["scored_on"]),
            own=_scores(figures),
            new=_scores(figures["on_new_data"] or {}),
            new_on=_marked((figures["on_new_data"] or {}).get("scored_on", "")),
            gains=_gains(figures),
            egress=_egress(result.path),
            bytes_up=byte_size(figures["bytes_up"]),
            bytes_down=byte_size(figures["bytes_down"]),
            backbone=_marked(backbone),
            fingerprint=figures["backbone_fingerprint"],
            licence=licence.told,
            head=_marked(config.head),
            head_sha256=figures["head_sha256"],
            versions=", ".join(f"{name} {one}" for name, one in figures["versions"].items()),
            written=written,
            told=[*plain.told, *written.told],
            difference=f"{plain.difference:.0e}",
        )
    )


def _data_name(config: RunConfig) -> str:
    """Return what the data is called, without the folders above it."""
    if config.data == "hospitals":
        return "hospitals (pictures that fedtl renders)"
    return Path(config.data.rpartition(":")[2]).name


def _front(result: RunResult, plain: PlainModel, licence: str, data: str) -> list[str]:
    """Return the lines of YAML above the card; text in them is JSON, which YAML includes."""
    config, figures = result.config, result.figures
    task = _TASKS[plain.kind.unit]
    tags = ["federated-learning", "transfer-learning", "fedtl", "flower", config.strategy]
    lines = [
        f"license: {_quoted(licence)}",
        "library_name: pytorch",
        f"pipeline_tag: {task}",
        "tags:",
        *(f"- {_quoted(tag)}" for tag in tags),
        "metrics:",
        "- accuracy",
    ]
    measured = [
        (name, scores["federated"]["accuracy"])
        for name, scores in (
            ("accuracy on clients' own data", figures),
            ("accuracy on new data", figures["on_new_data"] or {}),
        )
        if scores.get("federated") and scores["federated"]["accuracy"] is not None
    ]
    if measured:
        lines += [
            "model-index:",
            f"- name: {_quoted(f'{data} {config.strategy}')}",
            "  results:",
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            f"      name: {_quoted(data)}",
            f"      type: {_quoted(data)}",
            "    metrics:",
        ]
        for name, value in measured:
            lines += ["    - type: accuracy", f"      name: {_quoted(name)}"]
            lines.append(f"      value: {value:.4f}")
    return lines


def _quoted(text: str) -> str:
    return json.dumps(printable(text), ensure_ascii=False)


def _marked(text: str) -> str:
    """Return text in which nothing is markup of Markdown's, and which is one line."""
    return _MARKS.sub(r"\\\1", " ".join(printable(text).split()))


def _counts(figures: Mapping[str, Any]) -> str:
    """Return how much there was, as the run counted it before anything was computed."""
    found = figures.get("data") or {}
    if "inputs" not in found:
        return ""
    told = count_of(found["inputs"], str(found["unit"]))
    return f"{told}, of which {found['test']:,} were set aside as a test split"


def _scores(figures: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    """Return a row for each way of learning."""
    rows = []
    for way, label in _WAYS.items():
        found = figures.get(way)
        if not found:
            continue
        auroc = (found.get("metrics") or {}).get("macro_auroc")
        rows.append(
            (
                label,
                percent(found["accuracy"]),
                span(found["accuracy_low"], found["accuracy_high"]) or MISSING,
                percent(found["balanced_accuracy"]),
                percent(found["worst_client_accuracy"]),
                MISSING if auroc is None else f"{auroc:.3f}",
            )
        )
    return rows


def _gains(figures: Mapping[str, Any]) -> list[str]:
    """Return how the ways of the federation compare with local-only, a line each."""
    return [
        f"{way}: {points(gain['accuracy'])} points over local-only "
        f"({points_span(gain['low'], gain['high']) or 'no interval'}); {gain['better']:,} clients "
        f"better off, {gain['worse']:,} worse, {gain['no_clear_difference']:,} no clear difference"
        for way, gain in figures["gains"].items()
        if gain["accuracy"] is not None
    ]


def _clients(table: Any) -> list[tuple[str, ...]]:
    """Return a row for each client, as ``clients.csv`` tells it."""

    def of(row: Any, column: str) -> Any:
        return row[column] if column in table.columns else None

    return [
        (
            _marked(str(row["name"])),
            f"{int(row['examples']):,}",
            percent(of(row, "local_only_accuracy")),
            percent(of(row, "federated_accuracy")),
            span(of(row, "federated_low"), of(row, "federated_high")) or MISSING,
            str(of(row, "federated_verdict") or MISSING),
        )
        for _, row in table.head(_MOST_CLIENTS).iterrows()
    ]


def _egress(folder: Path | None) -> list[tuple[str, str, str, str, str]]:
    """Return what crossed the sites' borders, by kind of record, from the run's list."""
    if folder is None or not (folder / "egress.csv").is_file():
        return []
    counted = Remembered()
    for line in read_table((folder / "egress.csv").read_text(encoding="utf-8")):
        counted.count(line["direction"], line["record"], line["shape"], int(line["bytes"]))
    return [
        (
            "site to server" if total.direction == "up" else "server to site",
            _marked(total.record),
            _marked(shortened(total.contents, _LONGEST_CONTENTS)),
            f"{total.messages:,}",
            byte_size(total.bytes),
        )
        for total in counted.egress_totals()
    ]


def _trained(config: RunConfig) -> str:
    """Return what of the network was trained, in words; empty for its classifier alone."""
    if not config.trains_blocks:
        return ""
    by = "" if config.adapter == "none" else f", by {config.adapter} adapters of rank {config.rank}"
    if config.trainable_blocks:
        return f"the last {count_of(config.trainable_blocks, 'block')} of the network{by}"
    where = "" if config.train_from == "input" else f" from {_marked(config.train_from)} on"
    return f"the network{where}{by}"


def _settings(config: RunConfig, *, pictures: bool) -> str:
    """Return what was set of how it was trained, beside what every run has."""
    found = []
    if config.trains_blocks and config.views and pictures:
        # Real sites find out by themselves how many they have room for.
        crops = "random crops" if config.views < 0 else count_of(config.views, "crop")
        found.append(f"{crops} of each training picture")
    if config.shots:
        found.append(f"at most {count_of(config.shots, 'example')} of each class at a client")
    return "".join(f", {one}" for one in found)
