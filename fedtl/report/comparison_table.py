"""The two tables that end a comparison in the terminal, in 80 columns, and what the page shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedtl.comparison.own_data import READINGS, OwnStanding, Reading
from fedtl.comparison.spread import Spread
from fedtl.comparison.standings import Standing, Standings
from fedtl.report.tables import plain_table
from fedtl.statistics.two_way import FEWEST_SEEDS
from fedtl.wording import MISSING, byte_size, count_of, duration, percent, shortened, span

if TYPE_CHECKING:
    from rich.table import Table

_NAME_WIDTH = 13
READING_NAMES = {
    "federated": "Global head",
    "corrected": "Corrected",
    "personal": "Own head",
}
REFERENCE_NAMES = {
    "local_only": "local-only",
    "zero_shot": "zero-shot",
    "centralised": "centralised",
}


def ranking_table(at: Standings) -> Table:
    """Return a row per global head, the most accurate first, above the head of all data."""
    question = "On new data" if at.new_data else "On held-out rows"
    table = plain_table(question, *ranking_headings(at))
    for row in at.rows:
        name = shortened(row.strategy, _NAME_WIDTH)
        style = "bold" if row is at.rows[0] else None
        table.add_row(f"{name}{' *' if row.behind else ''}", *ranking_cells(row), style=style)
    rest = [""] * (len(ranking_headings(at)) - 1)
    for name, accuracy in references(at).items():
        table.add_row(name, spread_text(accuracy), *rest, style="dim")
    return table


def references(at: Standings) -> dict[str, Spread]:
    """Return what strategies are ranked beside: the accuracies of heads that are no strategy's."""
    named = {} if at.zero_shot is None else {"zero-shot": at.zero_shot}
    return {**named, "centralised": at.centralised}


def own_data_table(at: Standings) -> Table:
    """Return a row per strategy with its scores on clients' own data."""
    table = plain_table("On own data", *own_data_headings(at))
    for row in at.own.rows:
        table.add_row(shortened(row.strategy, _NAME_WIDTH), *own_data_cells(at, row))
    for way, (accuracy, _) in at.own.references.items():
        rest = [""] * (len(own_data_headings(at)) - 1)
        table.add_row(REFERENCE_NAMES[way], spread_text(accuracy), *rest, style="dim")
    return table


def ranking_headings(at: Standings) -> list[str]:
    """Return the headings of :func:`ranking_cells`."""
    # Eighty columns hold one of the two, and pooled data know no attack.
    beside = "No attack" if at.attacked else "Pooled"
    return ["Accuracy", "95% interval", beside, "Rounds", "Bytes", "Time"]


def ranking_cells(row: Standing) -> list[str]:
    """Return a strategy's figures on new data."""
    rounds, sent = MISSING, MISSING
    if row.reached == len(row.results):
        rounds, sent = f"{row.rounds.mean:.0f}", byte_size(row.bytes.mean)
    elif row.reached:
        rounds = f"({row.reached}/{len(row.results)})"
    return [
        spread_text(row.accuracy),
        MISSING if row.interval is None else span(*row.interval),
        spread_text(row.pooled if row.clean is None else row.clean),
        rounds,
        sent,
        _seconds(row.seconds.mean),
    ]


def ranking_captions(at: Standings) -> list[str]:
    """Return the explanation of the figures on new data, as lines."""
    counted = count_of(at.examples, "example")
    if at.groups != at.examples:
        counted += f" in {count_of(at.groups, 'group')}"
    part = "a test split that belongs to no client" if at.new_data else "all clients' held-out rows"
    lines = [
        f"global heads on {part} ({counted})",
        f"accuracy in %, mean ± sd over {count_of(at.seeds, 'seed')}; its interval over "
        + ("seeds and examples" if at.seeds > 1 else "examples"),
    ]
    if at.seeds < FEWEST_SEEDS:
        lines.append(f"no * below {FEWEST_SEEDS} seeds: too few for a test")
    elif any(row.behind for row in at.rows):
        lines.append("* significantly behind the best (seeds and examples, minP, p < .05)")
    lines.append(
        "no attack: the same without hostile clients"
        if at.attacked
        else f"pooled: the same training on all data in one place, over {at.pooled_over}"
    )
    lines.append(f"rounds and bytes: until {percent(at.target)} is reached; time: of all rounds")
    if any(0 < row.reached < len(row.results) for row in at.rows):
        lines.append("(k/n): k of n runs reached it")
    return lines


def tuned_captions(at: Standings) -> list[str]:
    """Return what searches chose, a line per strategy."""
    return [f"tuned: {name} {tuned_text(found)}" for name, found in at.tuned.items()]


def shown_readings(at: Standings) -> list[str]:
    """Return the kinds of head that any strategy gives here."""
    return [way for way in READINGS if any(way in row.readings for row in at.own.rows)]


def own_data_headings(at: Standings) -> list[str]:
    """Return the headings of :func:`own_data_cells`."""
    return [name for way in shown_readings(at) for name in (READING_NAMES[way], "+/\N{MINUS SIGN}")]


def own_data_cells(at: Standings, row: OwnStanding) -> list[str]:
    """Return a strategy's figures on clients' own data: two per kind of head."""
    cells = []
    for way in shown_readings(at):
        reading = row.readings.get(way)
        cells += [MISSING, ""] if reading is None else _reading_cells(reading)
    return cells


def _reading_cells(reading: Reading) -> list[str]:
    return [
        spread_text(reading.accuracy),
        f"{count_text(reading.better)}/{count_text(reading.worse)}",
    ]


def own_data_captions(at: Standings) -> list[str]:
    """Return the explanation of the figures on own data, as lines."""
    shown = shown_readings(at)
    lines = [
        f"accuracy in %, mean ± sd over {count_of(at.seeds, 'seed')}: all clients' held-out rows",
        f"+/\N{MINUS SIGN}: clients better and worse off than local-only, of {at.judged:,}, by "
        "exact tests",
    ]
    if "corrected" in shown:
        lines.append("corrected: the global head, read with each client's own class frequencies")
    if "personal" in shown:
        lines.append("own head: the client's own, from the strategy or from personalisation")
    return lines


def spread_text(spread: Spread) -> str:
    """Return a fraction as ``"87.4±0.3"``, in percent."""
    if math.isnan(spread.mean):
        return MISSING
    mean = percent(spread.mean).removesuffix("%")
    return mean if math.isnan(spread.sd) else f"{mean}±{100 * spread.sd:.1f}"


def count_text(spread: Spread) -> str:
    """Return a mean count, ``"6"`` or ``"6.4"``."""
    return MISSING if math.isnan(spread.mean) else f"{spread.mean:.1f}".removesuffix(".0")


def tuned_text(found: Mapping[str, Sequence[float]]) -> str:
    """Return what searches chose, a value per seed: ``"learning-rate 0.05 / 0.02"``."""
    return ", ".join(
        f"{key} {' / '.join(f'{value:.3g}' for value in values)}" for key, values in found.items()
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 99.95 else duration(seconds)
