"""The top of the report's page: the gain from federation, in one sentence and three figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtl.report.answer import answer, verdict
from fedtl.report.tables import SCORES
from fedtl.report.ways import Way, ways_of
from fedtl.results.detail import RunDetail
from fedtl.wording import (
    byte_size,
    count_of,
    duration,
    known,
    percent,
    sentence,
    span,
)

_MEANINGS = {
    "local-only": "The best head from each client's own examples alone.",
    "zero-shot": "A head of the classes' names alone: no example of anybody's is needed.",
    "federated": "One shared head, for cases like everyone's; every example stays where it is.",
    "corrected": "The shared head, read with each client's class mix: for cases like its own.",
    "personal": "A head of its own for every client.",
    "centralised": "The best head of all examples in one place: the reference.",
}
_MEANINGS_WITH_BLOCKS = {
    **_MEANINGS,
    "local-only": "The best head on the frozen backbone, from each client's own examples alone.",
    "federated": "One shared head on trained blocks of the backbone, for cases like everyone's; "
    "every example stays where it is.",
    "personal": "A head on trained blocks of the backbone, of its own for every client.",
    "centralised": "The best head on the frozen backbone, of all examples in one place: the "
    "reference.",
}


def subject(result: RunDetail) -> str:
    """Return the run in a few words: its data, strategy and number of clients."""
    data = Path(str(result.config["data"])).name if "data" in result.config else "federation"
    parts = [data, result.summary["strategy"], count_of(len(result.clients), "client")]
    return " · ".join([*parts, *_blocks(result)])


def _blocks(result: RunDetail) -> list[str]:
    """Return what of the backbone is trained, in a few words, if anything is."""
    count, module = (result.config.get(key) for key in ("trainable-blocks", "train-from"))
    if module:
        return [f"trained from {module} on"]
    return [f"{count_of(int(count), 'block')} trained"] if count else []


def headline(result: RunDetail) -> dict[str, object]:
    """Return what ``report.html`` shows above its sections."""
    summary = result.summary
    meanings = _MEANINGS_WITH_BLOCKS if _blocks(result) else _MEANINGS
    return {
        "subject": subject(result),
        "verdict": verdict(result),
        "note": summary.get("note"),
        "answer": answer(result),
        "cards": [
            _card(way, meanings[way.label], summary[key], _beside(key, summary))
            for key, way in ways_of(result).items()
        ],
        "scored": f"Accuracy, with its 95 % interval, on {summary['scored_on']}.",
        "facts": _facts(result),
        "unseen": result.unseen,
        "attention": _attention(result),
    }


@dataclass(frozen=True)
class Card:
    """One way of learning.

    Attributes:
        way: Of learning.
        accuracy: All clients' held-out rows together, a fraction; ``None`` if there is none.
        interval: Its 95 % interval.
        meaning: Its heads, in words.
        rest: Its other scores.
        beside: A further note.
    """

    way: Way
    accuracy: float | None
    interval: str
    meaning: str
    rest: str
    beside: str


def _card(way: Way, meaning: str, scores: Mapping[str, Any] | None, beside: str) -> Card:
    if not scores:
        return Card(way, None, "", meaning, "Not computed in this run.", beside)
    interval = span(scores["accuracy_low"], scores["accuracy_high"])
    rest = ", ".join(f"{SCORES[name]} {percent(scores[name])}" for name in list(SCORES)[1:])
    return Card(way, scores["accuracy"], interval, meaning, sentence(rest), beside)


def _facts(result: RunDetail) -> list[tuple[str, str]]:
    """Return figures, and their captions."""
    summary = result.summary
    rounds, classes = count_of(summary["rounds"], "round"), count_of(len(result.classes), "class")
    return [
        (rounds, ""),
        (f"{sum(row.examples for row in result.clients):,}", "training examples"),
        (f"{sum(row.held_out for row in result.clients):,}", "held out"),
        (classes, ""),
        (byte_size(summary["bytes_up"]), "up"),
        (byte_size(summary["bytes_down"]), "down"),
        (duration(summary["seconds"]["total"]), ""),
    ]


def _beside(way: str, summary: Mapping[str, Any]) -> str:
    """Return the note beside a way's figures: how its heads were solved."""
    if way == "local_only":
        methods = dict(summary.get("local_only_methods") or {})
        counts = ", ".join(
            f"{_method(name)} at {count_of(methods[name], 'client')}" for name in sorted(methods)
        )
        return f"Solved by {counts}." if counts else ""
    if way != "centralised":
        return ""
    told = []
    if method := summary.get("centralised_method"):
        told.append(f"Solved by {_method(method)}.")
    training = summary.get("centralised_training")
    if training and known(training["own_data"]["accuracy"]):
        own = training["own_data"]
        known_span = span(own["low"], own["high"])
        told.append(
            f"The same training on pooled data: {percent(own['accuracy'])}"
            + (f" ({known_span})" if known_span else "")
            + (f", mean of {training['shuffles']} shuffles." if training["shuffles"] > 1 else ".")
        )
    return " ".join(told)


def _method(name: str) -> str:
    return name.upper() if name == "lda" else name


def _attention(result: RunDetail) -> list[tuple[str, str, str]]:
    """Return facts that need attention, each with the section that explains it."""
    failed = sum(len(row.failed) for row in result.rounds)
    warnings = len(result.warnings)
    facts = [
        ("clients", result.harmed, f"of {len(result.clients):,} worse off than local-only"),
        ("failures", failed, count_of(failed, "failure").partition(" ")[2]),
        ("failures", warnings, count_of(warnings, "warning").partition(" ")[2]),
    ]
    return [(anchor, f"{number:,}", words) for anchor, number, words in facts if number]
