"""The top of the report's page: what federation was worth, in one sentence and three figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.report.markup import escaped, meter
from fedtl.report.result import RunResult
from fedtl.report.tables import SCORES
from fedtl.report.ways import Way, ways_of
from fedtl.report.wording import (
    byte_size,
    count_of,
    duration,
    percent,
    points,
    points_span,
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
    cards = "".join(_way_card(way, summary[key]) for key, way in ways_of(result).items())
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
        f'<p class="eyebrow scored">Accuracy on {escaped(_scored(summary))}.</p>'
        f'\n<ul class="facts">{items}</ul>'
    )


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


def _way_card(way: Way, scores: Mapping[str, Any] | None) -> str:
    style, meaning = way.label.replace("-", "_"), _MEANINGS[way.label]
    accuracy = scores["accuracy"] if scores else None
    known_span = span(scores["accuracy_low"], scores["accuracy_high"]) if scores else ""
    interval = f"95 % interval {known_span}" if known_span else ""
    rest = (
        ", ".join(f"{SCORES[name]} {percent(scores[name])}" for name in list(SCORES)[1:])
        if scores
        else "Not computed in this run"
    )
    return (
        f'<div class="way {style}"><dt>{way.title}</dt><dd class="figure">{percent(accuracy)}</dd>'
        f"<dd>{meter(accuracy)}</dd>"
        f'<dd class="interval">{interval}</dd>'
        f'<dd class="meaning">{meaning}</dd><dd class="meaning">{rest[0].upper()}{rest[1:]}.</dd>'
        "</div>"
    )


def verdict(result: RunResult) -> str:
    """Return what federation was worth on clients' own data: the words at the top of the page."""
    summary = result.summary
    gains = {way: gain for way, gain in summary["gains"].items() if gain["accuracy"] is not None}
    heads = "The federated head" if summary["global_head"] else "Clients' own heads"
    if not gains:
        return f"{heads} could not be scored."
    first = gains["federated"]
    told = f"On their own data clients {_gained(first)} over working alone"
    other = "personal" if "personal" in gains else "corrected"
    if other in gains:
        how = (
            "with the heads of their own"
            if other == "personal"
            else "if the shared head is read with their own mix of classes"
        )
        told += f", and {_gained(gains[other], verb=False)} {how}"
    return f"{told}: {_who(gains.get(other, first))}."


def _gained(gain: Mapping[str, Any], *, verb: bool = True) -> str:
    value = round(100 * gain["accuracy"], 1)
    noun = "point" if abs(value) == 1 else "points"
    interval = points_span(gain["low"], gain["high"])
    sure = f" ({interval})" if interval else ""
    if not verb:
        return f"{points(gain['accuracy'])}{sure}"
    if value == 0:
        return f"gain nothing{sure}"
    return f"{'gain' if value > 0 else 'lose'} {abs(value):.1f} {noun}{sure}"


def _who(gain: Mapping[str, Any]) -> str:
    better, worse = gain["better"], gain["worse"]
    unclear = gain["no_clear_difference"]
    return (
        f"{better} clearly better off, {worse} clearly worse, {unclear} without a clear difference"
    )
