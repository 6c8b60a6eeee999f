"""A run with heads of clients' own, held against numpy: page, charts, terminal and summary."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from read_back import bar_titles, bars_of, interval, mcnemar, pc, said_by, share_of, signed, told
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score
from unequal_run import PERSONAL, Ran, Rows, tables_of, titles_of

from fedtl.report import theme

WAYS = ("local_only", "federated", "corrected", "personal", "centralised")
GAINING = WAYS[1:4]
COLOURS = dict(
    zip(
        WAYS,
        (theme.LOCAL, theme.FEDERATED, theme.CORRECTED, theme.PERSONAL, theme.CENTRALISED),
        strict=True,
    )
)
MARKS = {"better": "▲", "worse": "▼"}


@pytest.fixture(scope="module")
def ran(unequal_run: Callable[..., Ran]) -> Ran:
    return unequal_run(*PERSONAL)


@pytest.fixture(scope="module")
def page(ran: Ran) -> str:
    return (ran.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def heads(ran: Ran) -> dict[str, list[Rows]]:
    return said_by(ran)


@pytest.fixture(scope="module")
def order(ran: Ran) -> list[str]:
    """Clients by what they gain from the heads that they would use, the largest first."""
    rows = told(ran)
    return sorted(rows, key=lambda name: -float(rows[name]["personal_gain"]))


# --- heads of clients' own ------------------------------------------------------------------------


def test_each_clients_figures_are_of_its_own_head(ran: Ran, heads: dict[str, list[Rows]]) -> None:
    y = ran.data["y"]
    assert [name for name, _, _ in ran.parts()] == ["Ashe", "Bray", "Dale", "Odd"]
    for client, ((name, _, held), row) in enumerate(
        zip(ran.parts(), told(ran).values(), strict=True)
    ):
        assert row["name"] == name
        right = {way: each[client][held] == y[held] for way, each in heads.items()}
        for way, own in right.items():
            low, high = binomtest(int(own.sum()), len(held)).proportion_ci(method="wilson")
            balanced = balanced_accuracy_score(y[held], heads[way][client][held])
            for column, value in {
                "accuracy": own.mean(),
                "low": low,
                "high": high,
                "balanced_accuracy": balanced,
            }.items():
                assert float(row[f"{way}_{column}"]) == pytest.approx(value, abs=1e-6), way
        ours, alone = right["personal"], right["local_only"]
        counts = {"both": ours & alone, "only_ours": ours & ~alone, "only_local": alone & ~ours}
        for column, which in counts.items():
            assert int(row[f"personal_{column}"]) == which.sum()
        gain = ours.mean() - alone.mean()
        assert float(row["personal_gain"]) == pytest.approx(gain, abs=1e-6)
        assert float(row["gain"]) == pytest.approx(gain, abs=1e-6), "of the head it would use"
    for way in GAINING:
        assert {n: row[f"{way}_verdict"] for n, row in told(ran).items()} == mcnemar(ran, way)
    verdicts = mcnemar(ran, "personal")
    assert verdicts != mcnemar(ran), "else one could be taken for the other"
    assert [row["harmed"] for row in told(ran).values()] == [
        "yes" if verdict == "worse" else "no" for verdict in verdicts.values()
    ]


def test_the_summary_has_them_together(ran: Ran, heads: dict[str, list[Rows]]) -> None:
    y, summary = ran.data["y"], ran.summary()
    helds = [held for _, _, held in ran.parts()]
    tested = np.flatnonzero(ran.data["test"])
    rows = np.concatenate(helds)
    for way, each in heads.items():
        said = np.concatenate([own[held] for own, held in zip(each, helds, strict=True)])
        right = said == y[rows]
        clients = [(own[held] == y[held]).mean() for own, held in zip(each, helds, strict=True)]
        low, high = binomtest(int(right.sum()), len(rows)).proportion_ci(method="wilson")
        figures = {
            "accuracy": right.mean(),
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": balanced_accuracy_score(y[rows], said),
            "mean_client_accuracy": np.mean(clients),
            "worst_client_accuracy": min(clients),
        }
        for name, value in figures.items():
            assert summary[way][name] == pytest.approx(value), (way, name)
        new = np.mean([own[tested] == y[tested] for own in each])
        assert summary["on_new_data"][way]["accuracy"] == pytest.approx(new)
    verdicts = mcnemar(ran, "personal")
    assert summary["harmed_clients"] == [
        at for at, verdict in enumerate(verdicts.values()) if verdict == "worse"
    ]
    found = summary["gains"]["personal"]
    counts = list(verdicts.values())
    assert (found["better"], found["worse"]) == (counts.count("better"), counts.count("worse"))
    gain = summary["personal"]["accuracy"] - summary["local_only"]["accuracy"]
    assert found["accuracy"] == pytest.approx(gain)
    assert found["low"] < gain < found["high"]


def test_the_page_has_them_beside_the_shared_head(ran: Ran, page: str, order: list[str]) -> None:
    verdicts = {way: mcnemar(ran, way) for way in GAINING}
    (table,) = tables_of(page, "clients")
    heading, *rows = table
    at = heading.index("Personal")
    expected = [("harmed" if v == "worse" else "", n) for n, v in verdicts["personal"].items()]
    assert [(row[0], row[1]) for row in rows] == expected
    for row, own in zip(rows, told(ran).values(), strict=True):
        n = int(own["held_out"])
        hits = round(float(own["personal_accuracy"]) * n)
        verdict = verdicts["personal"][own["name"]]
        low, high = (signed(float(own[f"personal_gain_{end}"])) for end in ("low", "high"))
        assert row[at : at + 6] == [
            share_of(hits, n),
            interval(hits, n),
            pc(float(own["personal_balanced_accuracy"])),
            signed(float(own["personal_gain"])),
            f"{low} to {high}",
            f"{MARKS.get(verdict, '')} {verdict}".strip(),
        ]
    listed = re.search(r'<ul class="gains narrow">(.*?)</ul>', page, re.DOTALL)
    assert listed is not None
    assert re.findall(r"<h3>([^<]*)</h3>", listed[1]) == order
    summary = ran.summary()
    top = page[page.index("<h1>") : page.index("<section")]
    assert re.findall(r'<div class="way ([^"]*)">', top) == list(WAYS)
    card = re.search(r'<div class="way personal">(.*?)</div>', top, re.DOTALL)
    assert card is not None
    mine = summary["personal"]
    assert f'<dd class="figure">{pc(mine["accuracy"])}</dd>' in card[1]
    assert interval(mine["correct"], mine["examples"]) in card[1]
    assert f"Balanced accuracy {pc(mine['balanced_accuracy'])}" in card[1]
    assert f"mean client {pc(mine['mean_client_accuracy'])}" in card[1]
    assert f"worst client {pc(mine['worst_client_accuracy'])}" in card[1]
    worse = len(summary["harmed_clients"])
    assert re.search(rf'href="#clients"><b>{worse}</b> of 4 worse off than local-only', top)
    # All clients, and then the smallest.
    boxes = re.findall(r'<div class="gain personal">.*?<b class="points">([^<]*)</b>', top)
    assert "The smallest: Dale" in top
    gains = [summary["gains"]["personal"]["accuracy"], float(told(ran)["Dale"]["personal_gain"])]
    assert boxes == list(map(signed, gains))


def test_the_terminal_has_what_clients_would_use(ran: Ran) -> None:
    lines = ran.end.stdout.splitlines()
    assert lines[0].split() == [
        "Client",
        "Train",
        "Local-only",
        "Corrected",
        "Gain",
        "Personal",
        "Gain",
    ]
    verdicts = {way: mcnemar(ran, way) for way in GAINING}
    for row in told(ran).values():
        name, n = row["name"], int(row["held_out"])
        cells = [row["examples"], share_of(round(float(row["local_only_accuracy"]) * n), n)]
        for way in ("corrected", "personal"):
            cells.append(share_of(round(float(row[f"{way}_accuracy"]) * n), n))
            mark = MARKS.get(verdicts[way][name], "")
            cells.append(f"{signed(float(row[f'{way}_gain']))} {mark}".strip())
        (line,) = [line for line in lines if re.match(rf"{name} +\d", line)]
        assert line.split() == " ".join([name, *cells]).split()
    summary = ran.summary()
    for score, heading in {"accuracy": "accuracy", "worst_client_accuracy": "worst client"}.items():
        line = next(line for line in lines if line.startswith(heading))
        assert line.removeprefix(heading).split() == [pc(summary[way][score]) for way in WAYS]
    text = " ".join(" ".join(lines).split())
    for way in GAINING:
        counts = list(verdicts[way].values())
        found = signed(summary["gains"][way]["accuracy"])
        assert re.search(
            rf"{way}: {re.escape(found)} points over local-only \([^)]*\); "
            rf"{counts.count('better')} better, {counts.count('worse')} worse, "
            rf"{counts.count('no clear difference')} no clear",
            text,
        )


def test_bars_are_of_four_ways_in_order_of_own_heads(ran: Ran, page: str, order: list[str]) -> None:
    rows, ways = told(ran), WAYS[:4]
    titles = bar_titles(ran, *ways)
    for way, bars in zip(ways, bars_of(ran, page, 4), strict=True):
        assert set(bars) == set(titles[way])
        for title, (place, width) in bars.items():
            name = title.partition(",")[0]
            assert round(place) == order.index(name)
            assert width == pytest.approx(float(rows[name][f"{way}_accuracy"]), abs=1e-6)
    harmed = [
        float(rows[name][f"{way}_accuracy"])
        for way in GAINING
        for name, verdict in mcnemar(ran, way).items()
        if verdict == "worse"
    ]
    np.testing.assert_allclose(sorted(ran.hatched), sorted(harmed), atol=1e-6)


def test_the_ladder_of_one_round_spans_all_ways(ran: Ran, page: str) -> None:
    summary = ran.summary()
    expected = []
    for score, name in {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "mean_client_accuracy": "mean client",
        "worst_client_accuracy": "worst client",
    }.items():
        values = [summary[way][score] for way in WAYS]
        lines = [args for args, _ in ran.calls("plot", color=theme.LINE)]
        assert any(np.allclose(args[0], [min(values), max(values)]) for args in lines), score
        for way, value in zip(WAYS, values, strict=True):
            marks = [args[0] for args, _ in ran.calls("plot", color=COLOURS[way])]
            assert any(np.ndim(mark) == 0 and np.isclose(mark, value) for mark in marks)
        each = [
            f"{way.replace('_', '-')} {pc(value)}" for way, value in zip(WAYS, values, strict=True)
        ]
        expected.append(f"{name}: {', '.join(each)}")
    assert titles_of(page, "accuracy") == [expected] * 2
