"""The top of the report's page: what federation was worth, in one sentence and three figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.report.markup import escaped, meter
from fedtl.report.result import RunResult
from fedtl.report.tables import SCORES
from fedtl.report.wording import byte_size, count_of, duration, known, percent

_MEANINGS = {
    "local_only": (
        "Local-only",
        "Every client learns from its own examples; the mean over clients.",
    ),
    "federated": ("Federated", "One shared head; every example stays where it is."),
    "centralised": ("Centralised", "All examples pooled in one place: the reference."),
}


def subject(result: RunResult) -> str:
    """Return the run in a few words: its data, strategy and number of clients."""
    data = Path(str(result.config["data"])).name if "data" in result.config else "federation"
    return f"{data} · {result.summary['strategy']} · {count_of(len(result.clients), 'client')}"


def headline(result: RunResult) -> str:
    """Return the verdict, the three accuracies that it rests on, and the facts of the run."""
    summary = result.summary
    cards = "".join(_way_card(way, summary[way]) for way in _MEANINGS)
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
    return (
        f'<p class="eyebrow">{escaped(subject(result))}</p>\n<h1>{escaped(verdict(result))}</h1>\n'
        f'<dl class="ways">{cards}</dl>\n'
        f'<p class="eyebrow scored">Accuracy on {escaped(summary["scored_on"])}.</p>'
        f'\n<ul class="facts">{items}</ul>'
    )


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
        (result.harmed, f"<b>{result.harmed:,}</b> of {len(result.clients):,} harmed", "clients"),
        (failed, f"<b>{count_of(failed, 'failure')}</b>", "failures"),
        (len(result.warnings), f"<b>{count_of(len(result.warnings), 'warning')}</b>", "failures"),
    ]
    return "".join(
        f'<li class="bad"><a class="bad" href="#{anchor}">{text}</a></li>'
        for number, text, anchor in facts
        if number
    )


def _way_card(way: str, scores: Mapping[str, Any] | None) -> str:
    title, meaning = _MEANINGS[way]
    accuracy = scores["accuracy"] if scores else None
    rest = (
        ", ".join(f"{SCORES[name]} {percent(scores[name])}" for name in list(SCORES)[1:])
        if scores
        else "Not computed in this run"
    )
    return (
        f'<div class="way {way}"><dt>{title}</dt><dd class="figure">{percent(accuracy)}</dd>'
        f"<dd>{meter(accuracy)}</dd>"
        f'<dd class="meaning">{meaning}</dd><dd class="meaning">{rest[0].upper()}{rest[1:]}.</dd>'
        "</div>"
    )


def verdict(result: RunResult) -> str:
    """Return what federation was worth, in the sentence at the top of the page."""
    federated = result.summary["federated"]
    if federated is None or not known(federated["accuracy"]):
        return "The federated head could not be scored."
    gain = _difference(federated, result.summary["local_only"])
    gap = _difference(federated, result.summary["centralised"])
    if gain is None:
        alone = f"Federation reached {percent(federated['accuracy'])}"
    elif gain == 0:
        alone = "Federation matched clients working alone"
    else:
        verb, word = ("gained", "over") if gain > 0 else ("lost", "against")
        noun = "point" if abs(gain) == 1 else "points"
        alone = f"Federation {verb} {abs(gain):.1f} {noun} {word} clients working alone"
    if gap is None:
        return f"{alone}."
    if gap == 0:
        return f"{alone}, and equals pooling all data."
    return f"{alone}, {abs(gap):.1f} {'below' if gap < 0 else 'above'} pooling all data."


def _difference(federated: Mapping[str, Any], other: Mapping[str, Any] | None) -> float | None:
    """Return the points between two accuracies as printed, so that a reader's sum comes out."""
    if other is None or not known(other["accuracy"]):
        return None
    ours, theirs = float(federated["accuracy"]), float(other["accuracy"])
    return round(round(100 * ours, 1) - round(100 * theirs, 1), 1)
