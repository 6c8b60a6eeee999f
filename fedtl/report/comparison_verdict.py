"""The result of a comparison, in a sentence for each of its two questions."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.comparison.plan import point_label
from fedtl.comparison.standings import Standings
from fedtl.report.comparison_table import READING_NAMES
from fedtl.statistics.two_way import FEWEST_SEEDS
from fedtl.wording import count_of, known, percent


def verdict(every: Sequence[Standings]) -> str:
    """Return which global head is most accurate, in the sentence at the top of the page."""
    best = {point_label(at.point): found for at in every if (found := _best(at)) is not None}
    if not best:
        return "No strategy here has a global head, so none is ranked."
    where = "on new data" if every[0].new_data else "on held-out rows"
    names = list(dict.fromkeys(name for name, _ in best.values()))
    if len(names) == 1 and len(best) > 1:
        scores = [score for _, score in best.values()]
        low, high = percent(min(scores)), percent(max(scores))
        verb = "are" if " and " in names[0] else "is"
        span = low if low == high else f"{low} to {high}"
        return f"{names[0]} {verb} the most accurate {where} throughout: {span}."
    parts = [
        f"{name} {percent(score)}" + (f" at {label}" if label else "")
        for label, (name, score) in best.items()
    ]
    sure = _ahead(every[0]) if len(every) == 1 else ""
    return f"Most accurate {where}: {'; '.join(parts)}{sure}."


def _ahead(at: Standings) -> str:
    """Return how many others the best surely beats."""
    others = len(at.rows) - 1
    if not others:
        return ""
    if at.seeds < FEWEST_SEEDS:
        return f"; {count_of(at.seeds, 'seed')} cannot tell how surely"
    behind = sum(row.behind for row in at.rows)
    return f", surely ahead of {behind} of {count_of(others, 'other')}"


def _best(at: Standings) -> tuple[str, float] | None:
    """Return the best strategy, or the several that give the same, and its accuracy."""
    if not at.rows or not known(at.rows[0].accuracy.mean):
        return None
    score = at.rows[0].accuracy.mean
    names = [row.strategy for row in at.rows if row.accuracy.mean == score]
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names), score


def own_verdict(every: Sequence[Standings]) -> str:
    """Return the result on clients' own data, in one sentence."""
    parts = []
    for at in every:
        first = at.own.rows[0]
        if not known(first.best):
            continue
        way = max(
            (way for way, one in first.readings.items() if known(one.accuracy.mean)),
            key=lambda way: first.readings[way].accuracy.mean,
        )
        label = point_label(at.point)
        alone = at.own.references["local_only"][0].mean
        parts.append(
            (f"at {label}: " if label else "")
            + f"{first.strategy} ({READING_NAMES[way].lower()}) {percent(first.best)}, local-only "
            + percent(alone)
        )
    return f"On clients' own data: {'; '.join(parts)}." if parts else ""
