"""The tables of sites that took no part, in the terminal, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedtl.report.tables import plain_table
from fedtl.results.unseen import UnseenScore, UnseenSite
from fedtl.wording import count_of, percent, shortened

if TYPE_CHECKING:
    from rich.table import Table

_OWN_HEADS_SHOWN = 10
_NAME_WIDTH = 18
_CAPTION_ROOM = 42


def unseen_sites_table(sites: Sequence[UnseenSite]) -> Table:
    """Return a row per site, for the heads that learnt without it."""
    from rich.text import Text

    table = plain_table("Unseen site", "Inputs", "Federated", "Centralised", "Best own", "Beaten")
    table.columns[0].min_width = _CAPTION_ROOM - 12
    for site in sites:
        best = site.alone[site.best_first[0]]
        table.add_row(
            Text(shortened(site.name, _NAME_WIDTH)),
            f"{site.examples:,}",
            percent(site.federated.accuracy),
            percent(site.centralised.accuracy if site.centralised else None),
            percent(best.accuracy),
            f"{site.beaten('accuracy')} of {len(site.alone)}",
        )
    table.caption = (
        "each row is a run without that site; best own: best local-only head of the others\n"
        "beaten: local-only heads that score below the federated head; all in unseen_sites.csv"
    )
    return table


def unseen_table(site: UnseenSite) -> Table:
    """Return the scores of federated, centralised and local-only heads on the holdout-site.

    Of more than ten clients the best ten are shown: federation has to beat them.
    """
    from rich.text import Text

    table = plain_table(f"On {shortened(site.name, _NAME_WIDTH)}, unseen", "Accuracy", "Balanced")
    table.columns[0].min_width = _CAPTION_ROOM

    def add(name: str, score: UnseenScore, mark: str, style: str | None) -> None:
        accuracy = f"{percent(score.accuracy)} {mark}"
        table.add_row(Text(name), accuracy, percent(score.balanced_accuracy), style=style)

    add("federated", site.federated, " ", "bold")
    if site.centralised is not None:
        add("centralised", site.centralised, " ", None)
    if site.zero_shot is not None:
        add("zero-shot", site.zero_shot, " ", None)
    for client in site.best_first[:_OWN_HEADS_SHOWN]:
        name = f"{shortened(site.client_names[client], _NAME_WIDTH)} local-only"
        unbeaten = client in site.unbeaten
        add(name, site.alone[client], "▲" if unbeaten else " ", "yellow" if unbeaten else None)
    left_out = len(site.alone) - _OWN_HEADS_SHOWN
    if left_out > 0:
        table.add_row("⋮", style="dim")
    beaten, count = site.beaten("accuracy"), len(site.alone)
    captions = ["▲ not beaten by the federated head"] if site.unbeaten else []
    if left_out > 0:
        captions.append(
            f"{count_of(left_out, 'lower local-only head')} left out, all in clients.csv"
        )
    captions += [
        f"all {site.examples:,} of its examples, none of them used before",
        f"federated beats {beaten:,} of {count:,} local-only heads, by balanced accuracy "
        f"{site.beaten('balanced_accuracy'):,}",
    ]
    table.caption = "\n".join(captions)
    return table
