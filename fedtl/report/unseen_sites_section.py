"""The report's section on each site in turn as the holdout-site: which head serves it best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedtl.report.page import Section
from fedtl.results.detail import RunDetail
from fedtl.results.unseen import UnseenScore, UnseenSite, heads_by_site
from fedtl.wording import count_of, percent

_MOST_ROWS = 100
_SHARED = ("federated", "centralised", "zero-shot")


def unseen_sites_section(result: RunDetail) -> Section | None:
    """Return accuracies by head and site; ``None`` unless every site was left out in turn."""
    sites = result.unseen_sites
    if not sites:
        return None
    heads = heads_by_site(sites)
    rows = [(_label(head), _cells(head, scores, sites)) for head, scores in heads.items()]
    named = {site.name for site in sites}
    view = {
        "verdict": _verdict(sites),
        "sites": sites,
        "rows": rows[:_MOST_ROWS],
        "left_out": max(0, len(rows) - _MOST_ROWS),
        "dealt": not named.issuperset(heads.keys() - _SHARED),
    }
    return Section("Unseen sites", "unseen-sites", "unseen_sites.html", view)


def _verdict(sites: Sequence[UnseenSite]) -> str:
    """Return at how many sites the federated head beats the other sites' local-only heads."""
    best = sum(site.beaten("accuracy") == len(site.alone) for site in sites)
    worst = min(sites, key=lambda site: site.federated.accuracy)
    beaten = sum(site.beaten("accuracy") for site in sites)
    own = sum(len(site.alone) for site in sites)
    return (
        f"At {best:,} of {count_of(len(sites), 'site')} that took no part, the federated head does "
        f"better than every other site's local-only head; it wins "
        f"{beaten:,} of all {own:,} comparisons. It is least accurate on {worst.name}: "
        f"{percent(worst.federated.accuracy)}."
    )


def _label(head: str) -> str:
    return head if head in _SHARED else f"{head} local-only"


def _cells(
    head: str, scores: Sequence[UnseenScore | None], sites: Sequence[UnseenSite]
) -> list[dict[str, Any] | None]:
    """Return texts and tooltips of a row's cells; ``None`` for a site that the head learnt from."""
    return [
        None
        if score is None
        else {
            "accuracy": score.accuracy,
            "unbeaten": head not in _SHARED and score.accuracy >= site.federated.accuracy,
            "title": f"{_label(head)} on {site.name}: {score.told} of "
            f"{count_of(site.examples, 'example')}",
        }
        for site, score in zip(sites, scores, strict=True)
    ]
