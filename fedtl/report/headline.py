"""The top of the report's page: what federation was worth, in one sentence and three figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.report.answer import answer, verdict
from fedtl.report.markup import escaped, meter
from fedtl.report.result import RunResult
from fedtl.report.tables import SCORES
from fedtl.report.ways import Way, ways_of
from fedtl.report.wording import (
    byte_size,
    count_of,
    duration,
    known,
    percent,
    span,
)

_MEANINGS = {
    "local-only": "The best head that every client's own examples give.",
    "federated": "One shared head, for cases like everyone's; every example stays where it is.",
    "corrected": "The shared head, read with each client's own mix of classes: cases like its own.",
    "personal": "A head of its own for every client.",
    "centralised": "The best head of all examples in one place: the reference.",
}


def subject(result: RunResult) -> str:
    """Return the run in a few words: its data, strategy and number of clients."""
    data = Path(str(result.config["data"])).name if "data" in result.config else "federation"
    return f"{data} · {result.summary['strategy']} · {count_of(len(result.clients), 'client')}"


def headline(result: RunResult) -> str:
    """Return the verdict, the accuracies that it rests on, and the facts of the run."""
    summary = result.summary
    cards = "".join(
        _way_card(way, summary[key], _beside(key, summary)) for key, way in ways_of(result).items()
    )
    trained_on = sum(row.examples for row in result.clients)
    held_out = sum(row.held_out for row in result.clients)
    facts = [
        f"<b>{count_of(summary['rounds'], 'round')}</b>",
        f"<b>{trained_on:,}</b> training examples",
        f"<b>{held_out:,}</b> held out",
        f"<b>{count_of(len(result.classes), 'class')}</b>",
        f"<b>{byte_size(summary['bytes_up'])}</b> up, "
        f"<b>{byte_size(summary['bytes_down'])}</b> down",
        f"<b>{duration(summary['seconds']['total'])}</b>",
    ]
    items = "".join(f"<li>{fact}</li>" for fact in facts) + _unseen(result) + _attention(result)
    scored = f"Accuracy, with its 95 % interval, on {_scored(summary)}."
    return (
        f'<p class="eyebrow">{escaped(subject(result))}</p>\n<h1>{escaped(verdict(result))}</h1>\n'
        f'{_note(summary)}{answer(result)}\n<dl class="ways">{cards}</dl>\n'
        f'<p class="eyebrow scored">{escaped(scored)}</p>'
        f'\n<ul class="facts">{items}</ul>'
    )


def _note(summary: Mapping[str, Any]) -> str:
    """Return what the strategy has to say of its run, for example the penalty it chose."""
    note = str(summary.get("note") or "")
    return f'<p class="note">{escaped(note[:1].upper() + note[1:])}</p>\n' if note else ""


def _beside(way: str, summary: Mapping[str, Any]) -> str:
    """Return what must be told beside a way's figures: how its heads were solved."""
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


def _scored(summary: Mapping[str, Any]) -> str:
    """Return what accuracies were measured on, and what must be known of those of lone heads."""
    note = str(summary["alone_note"])
    return ". ".join(filter(None, (str(summary["scored_on"]), note[:1].upper() + note[1:])))


def _unseen(result: RunResult) -> str:
    """Return how many of the clients' own heads the shared one betters where no client is."""
    site = result.unseen
    if site is None:
        return ""
    beaten = f"<b>{site.beaten('accuracy'):,}</b> of {len(site.alone):,} own heads beaten"
    return f'<li><a href="#unseen">{beaten} on <b>{escaped(site.name)}</b>, unseen</a></li>'


def _attention(result: RunResult) -> str:
    """Return the facts that ask for a look: harmed clients, failures, warnings."""
    failed = sum(len(row["failed"]) for row in result.rounds)
    facts = [
        (
            result.harmed,
            f"<b>{result.harmed:,}</b> of {len(result.clients):,} worse off than alone",
            "clients",
        ),
        (failed, f"<b>{count_of(failed, 'failure')}</b>", "failures"),
        (len(result.warnings), f"<b>{count_of(len(result.warnings), 'warning')}</b>", "failures"),
    ]
    return "".join(
        f'<li class="bad"><a class="bad" href="#{anchor}">{text}</a></li>'
        for number, text, anchor in facts
        if number
    )


def _way_card(way: Way, scores: Mapping[str, Any] | None, beside: str) -> str:
    style, meaning = way.label.replace("-", "_"), _MEANINGS[way.label]
    accuracy = scores["accuracy"] if scores else None
    known_span = span(scores["accuracy_low"], scores["accuracy_high"]) if scores else ""
    interval = known_span
    rest = (
        ", ".join(f"{SCORES[name]} {percent(scores[name])}" for name in list(SCORES)[1:])
        if scores
        else "Not computed in this run"
    )
    return (
        f'<div class="way {style}"><dt>{way.title}</dt><dd class="figure">{percent(accuracy)}</dd>'
        f"<dd>{meter(accuracy)}</dd>"
        f'<dd class="interval">{interval}</dd><dd class="meaning">{meaning}</dd>'
        f'<dd class="meaning more">{rest[0].upper()}{rest[1:]}.</dd>'
        + (f'<dd class="meaning more">{escaped(beside)}</dd>' if beside else "")
        + "</div>"
    )
