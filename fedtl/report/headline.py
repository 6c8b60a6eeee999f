"""The top of the report's page: what federation was worth, in one sentence and three figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.report.markup import escaped, meter
from fedtl.report.result import RunResult
from fedtl.report.tables import SCORES
from fedtl.report.ways import Way, ways_of
from fedtl.report.wording import byte_size, count_of, duration, known, percent

_MEANINGS = {
    "local-only": "Every client learns from its own examples; the mean over clients.",
    "federated": "One shared head; every example stays where it is.",
    "personal": "A head of its own for every client; the mean over clients.",
    "centralised": "All examples pooled in one place: the reference.",
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
        (result.harmed, f"<b>{result.harmed:,}</b> of {len(result.clients):,} harmed", "clients"),
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
    rest = (
        ", ".join(f"{SCORES[name]} {percent(scores[name])}" for name in list(SCORES)[1:])
        if scores
        else "Not computed in this run"
    )
    return (
        f'<div class="way {style}"><dt>{way.title}</dt><dd class="figure">{percent(accuracy)}</dd>'
        f"<dd>{meter(accuracy)}</dd>"
        f'<dd class="meaning">{meaning}</dd><dd class="meaning">{rest[0].upper()}{rest[1:]}.</dd>'
        "</div>"
    )


def verdict(result: RunResult) -> str:
    """Return what federation was worth, in the words at the top of the page.

    Clients' own heads are for their own examples, so it is there that they are compared.
    """
    summary = result.summary
    if not summary["global_head"]:
        measure, heads = "mean_client_accuracy", "Clients' own heads"
        who = "On their own examples, clients' own heads"
    else:
        measure, heads, who = "accuracy", "The federated head", "Federation"
    federated = summary["federated"]
    if federated is None or not known(federated[measure]):
        return f"{heads} could not be scored."
    gain = _difference(federated, summary["local_only"], measure)
    gap = _difference(federated, summary["centralised"], measure)
    if gain is None:
        alone = f"{who} reached {percent(federated[measure])}"
    elif gain == 0:
        alone = f"{who} matched clients working alone"
    else:
        verb, word = ("gained", "over") if gain > 0 else ("lost", "against")
        noun = "point" if abs(gain) == 1 else "points"
        alone = f"{who} {verb} {abs(gain):.1f} {noun} {word} clients working alone"
    if gap is None:
        told = f"{alone}."
    elif gap == 0:
        told = f"{alone}, and equals pooling all data."
    else:
        told = f"{alone}, {abs(gap):.1f} {'below' if gap < 0 else 'above'} pooling all data."
    return told + _personal_verdict(summary)


def _personal_verdict(summary: Mapping[str, Any]) -> str:
    """Return what personal heads add to the shared one, or nothing where there are none."""
    measure = "mean_client_accuracy"
    personal = summary["personal"]
    if personal is None or not known(personal[measure]):
        return ""
    ahead = _difference(personal, summary["federated"], measure)
    if ahead is None:
        return ""
    if ahead == 0:
        return " On clients' own examples, personal heads change nothing."
    noun = "point" if abs(ahead) == 1 else "points"
    verb = "add" if ahead > 0 else "lose"
    return f" On clients' own examples, personal heads {verb} {abs(ahead):.1f} {noun}."


def _difference(
    ours: Mapping[str, Any], other: Mapping[str, Any] | None, measure: str
) -> float | None:
    """Return the points between two accuracies as printed, so that a reader's sum comes out."""
    if other is None or not known(other[measure]):
        return None
    return round(round(100 * float(ours[measure]), 1) - round(100 * float(other[measure]), 1), 1)
