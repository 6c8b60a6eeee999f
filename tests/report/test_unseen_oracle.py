"""What a run says of the site that took no part, held against numpy and scipy."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from read_back import interval, pc, said_by, signed, told
from sklearn.metrics import balanced_accuracy_score
from unequal_run import AWAY, PERSONAL, Ran, Rows, tables_of, titles_of

from fedtl.report import theme

Scores = dict[str, tuple[float, float, str]]
"""Accuracy, balanced accuracy and interval of each head at the site, as the page lists them."""


@pytest.fixture(scope="module")
def ran(unequal_run: Callable[..., Ran]) -> Ran:
    return unequal_run(*PERSONAL)


@pytest.fixture(scope="module")
def page(ran: Ran) -> str:
    return (ran.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def away(ran: Ran) -> Scores:
    heads = said_by(ran)
    rows = np.flatnonzero(ran.data["site"] == AWAY)
    y = ran.data["y"][rows]

    def scores(said: Rows) -> tuple[float, float, str]:
        right = y == said[rows]
        balanced = balanced_accuracy_score(y, said[rows])
        return float(right.mean()), balanced, interval(int(right.sum()), len(rows))

    shared = {way: scores(heads[way][0]) for way in ("federated", "centralised")}
    own = {
        f"{name} local-only": scores(said)
        for (name, _, _), said in zip(ran.parts(), heads["local_only"], strict=True)
    }
    return shared | dict(sorted(own.items(), key=lambda one: -one[1][0]))


def test_the_summary_and_the_table_have_every_heads_scores(ran: Ran, away: Scores) -> None:
    summary = ran.summary()["unseen_site"]
    assert (summary["name"], summary["examples"]) == (AWAY, (ran.data["site"] == AWAY).sum())
    for way in ("federated", "centralised"):
        found = summary[way]
        assert (found["accuracy"], found["balanced_accuracy"]) == pytest.approx(away[way][:2])
    own = [scores for name, scores in away.items() if name.endswith("local-only")]
    for at, measure in enumerate(("accuracy", "balanced_accuracy")):
        mean = np.mean([one[at] for one in own])
        assert summary["local_only_mean"][measure] == pytest.approx(mean)
        ours = away["federated"][at]
        beaten = "own_heads_beaten" + ("_balanced" if at else "")
        assert summary[beaten] == sum(ours > one[at] for one in own)
        for name, row in told(ran).items():
            value = away[f"{name} local-only"][at]
            assert float(row[f"local_only_unseen_{measure}"]) == pytest.approx(value, abs=1e-6)
    best = list(told(ran))[summary["local_only_best"]["client"]]
    assert f"{best} local-only" == list(away)[2]


def test_page_and_terminal_have_them_and_say_who_is_not_beaten(
    ran: Ran, page: str, away: Scores
) -> None:
    ours = away["federated"]
    unbeaten = [name for name in list(away)[2:] if away[name][0] >= ours[0]]
    assert 0 < len(unbeaten) < 4
    (table,) = tables_of(page, "unseen")
    expected = [
        [name[0].upper() + name[1:], pc(one[0]), one[2], pc(one[1]), signed(ours[0] - one[0])]
        for name, one in away.items()
    ]
    expected[0][-1] = ""
    assert [row[1:] for row in table[1:]] == expected
    best = list(away)[2].removesuffix(" local-only")
    most = max(one[1] for one in list(away.values())[2:])
    by_balanced = sum(ours[1] > one[1] for one in list(away.values())[2:])
    told_there = re.search(r'<section id="unseen">.*?<p class="verdict">(.*?)</p>', page, re.DOTALL)
    assert told_there is not None
    assert told_there[1] == (
        f"On {AWAY}, which took no part, the federated head scores {pc(ours[0])}: better than the "
        f"local-only heads of {4 - len(unbeaten)} of 4 clients, but not than {best}&#39;s with "
        f"{pc(away[f'{best} local-only'][0])}. By balanced accuracy, where every class counts "
        f"alike, it scores {pc(ours[1])} against {pc(most)} for the best local-only "
        f"head, and is better than {by_balanced} of 4."
    )
    assert '<a href="#unseen">' in page
    assert f"<b>{4 - len(unbeaten)}</b> of 4 local-only heads beaten on <b>{AWAY}</b>" in page
    lines = ran.end.stdout.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"On {AWAY}, unseen"))
    for line, (name, one) in zip(lines[start + 2 :], away.items(), strict=False):
        mark = ["▲"] if name in unbeaten else []
        assert line.split() == [*name.split(), pc(one[0]), *mark, pc(one[1])]
    assert f"federated beats {4 - len(unbeaten)} of 4 local-only heads, by balanced accuracy " in (
        " ".join(lines)
    )


def test_its_chart_has_the_same_numbers(ran: Ran, page: str, away: Scores) -> None:
    ours = away["federated"][0]
    colours = [theme.FEDERATED, theme.CENTRALISED]
    colours += [theme.HARMED if one[0] >= ours else theme.LOCAL for one in list(away.values())[2:]]
    drawn = [(args, given) for args, given in ran.calls("barh", color=colours)]
    assert len(drawn) == 2, "for a desk and for a telephone"
    for (places, widths, _), _ in drawn:
        assert list(places) == list(range(len(away)))
        np.testing.assert_allclose(widths, [one[0] for one in away.values()])
    assert [args[0] for args, _ in ran.calls("axvline", color=theme.FEDERATED)] == [ours] * 2
    ticks = [args for args, _ in ran.calls("plot", color=theme.INK) if args[2:] == ("|",)]
    for args in ticks:
        np.testing.assert_allclose(args[0], [one[1] for one in away.values()])
    assert len(ticks) == 2
    spans = [f"{100 * args[0][0]:.1f} to {100 * args[0][1]:.1f}" for args, _ in
             ran.calls("plot") if np.shape(args[0]) == (2,)]  # fmt: skip
    titles = []
    for name, (accuracy, balanced, span) in away.items():
        assert spans.count(span) >= 2, name
        titles.append(f"{name}: {pc(accuracy)} (95 % interval {span}), balanced {pc(balanced)}")
    assert titles_of(page, "unseen") == [titles] * 2
