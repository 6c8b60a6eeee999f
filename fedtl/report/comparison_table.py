"""The table that ends a comparison in the terminal, in 80 columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedtl.comparison.plan import point_label
from fedtl.comparison.standings import Spread, Standing, Standings
from fedtl.report.tables import plain_table
from fedtl.report.wording import MISSING, byte_size, count_of, duration, percent, shortened

if TYPE_CHECKING:
    from rich.table import Table

_NAME_WIDTH = 13
HEADINGS = ("Test", "Client", "Worst", "Harmed", "Rounds", "Bytes", "Time")


def comparison_table(at: Standings) -> Table:
    """Return one row per strategy, the most accurate first, between the two ends of the scale.

    Accuracies are in percent, mean ± standard deviation over seeds.
    """
    table = plain_table(shortened(point_label(at.point) or "Strategy", 24), *HEADINGS)
    for row in at.rows:
        name = shortened(row.strategy, _NAME_WIDTH)
        style = "bold" if row is at.rows[0] else None
        table.add_row(f"{name}{' *' if row.behind else ''}", *standing_cells(row), style=style)
    for name, scores in (("centralised", at.centralised), ("local-only", at.local_only)):
        spreads = [
            scores[key] for key in ("accuracy", "mean_client_accuracy", "worst_client_accuracy")
        ]
        table.add_row(name, *map(spread_text, spreads), *[""] * 4, style="dim")
    tuned = [f"tuned: {row.strategy} {tuned_text(row)}" for row in at.rows if row.tuned]
    table.caption = "\n".join([*captions(at), *tuned])
    return table


def standing_cells(row: Standing) -> list[str]:
    """Return a strategy's figures, as :data:`HEADINGS` names them."""
    rounds, sent = MISSING, MISSING
    if row.reached == len(row.results):
        rounds, sent = f"{row.rounds.mean:.0f}", byte_size(row.bytes.mean)
    elif row.reached:
        rounds = f"({row.reached}/{len(row.results)})"
    return [
        *map(spread_text, (row.accuracy, row.mean_client, row.worst_client)),
        f"{row.harmed.mean:.1f}".removesuffix(".0"),
        rounds,
        sent,
        _seconds(row.seconds.mean),
    ]


def spread_text(spread: Spread) -> str:
    """Return a fraction as ``"87.4±0.3"``, in percent."""
    if math.isnan(spread.mean):
        return MISSING
    mean = percent(spread.mean).removesuffix("%")
    return mean if math.isnan(spread.sd) else f"{mean}±{100 * spread.sd:.1f}"


def tuned_text(row: Standing) -> str:
    """Return what searches chose, a value a seed: ``"learning-rate 0.05 / 0.02"``."""
    return ", ".join(
        f"{key} {' / '.join(f'{value:.3g}' for value in values)}"
        for key, values in row.tuned.items()
    )


def captions(at: Standings) -> list[str]:
    """Return what the table's figures are, a line each."""
    first = next(iter(at.rows[0].results.values()))
    seeds = max(len(row.results) for row in at.rows)
    clients = max(len(run.clients) for row in at.rows for run in row.results.values())
    lines = [
        f"accuracy in %, mean ± sd over {count_of(seeds, 'seed')}; client: on own held-out data",
        f"test: {first.scored_on}",
        f"harmed: of {count_of(clients, 'client')}, against the strategy's own lone heads",
        f"rounds and bytes: until {percent(at.target)} are reached; time: of all rounds",
        f"centralised and local-only as {shortened(at.reference, 24)} trains",
    ]
    if any("personal" in run.scores for row in at.rows for run in row.results.values()):
        lines.append("client, worst, harmed: with clients' own heads, where a strategy has them")
    if any(row.behind for row in at.rows):
        lines.insert(0, "* significantly behind the best (paired t-test over seeds, Holm, p < .05)")
    if "held-out" in first.scored_on:
        lines.append("test of local-only: each client's own head on its own part of them")
    if any(0 < row.reached < len(row.results) for row in at.rows):
        lines.append("(k/n): k of n runs got there")
    return lines


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 99.95 else duration(seconds)
