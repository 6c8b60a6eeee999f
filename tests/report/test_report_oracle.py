"""What people read of a run, held against numpy: page, charts, terminal, summary."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from read_back import NAMES, mcnemar, pc, right, signed, told
from scipy.stats import binomtest, t
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from unequal_run import CLASSES, ROUNDS, Ran, tables_of

from fedtl.report import theme

WAYS = ("local_only", "federated", "corrected", "centralised")
COLOURS = {
    "local_only": theme.LOCAL,
    "federated": theme.FEDERATED,
    "corrected": theme.CORRECTED,
    "centralised": theme.CENTRALISED,
}


@pytest.fixture(scope="module")
def ran(unequal_run: Callable[..., Ran]) -> Ran:
    return unequal_run()


@pytest.fixture(scope="module")
def page(ran: Ran) -> str:
    return (ran.folder / "report.html").read_text(encoding="utf-8")


# --- tables ---------------------------------------------------------------------------------------


def test_the_run_has_verdicts_of_all_kinds(ran: Ran) -> None:
    assert set(mcnemar(ran).values()) == {"better", "worse", "no clear difference"}
    for way in ("federated", "corrected"):
        assert {n: row[f"{way}_verdict"] for n, row in told(ran).items()} == mcnemar(ran, way)


def test_the_table_of_clients_has_every_clients_own_numbers(ran: Ran, page: str) -> None:
    (table,) = tables_of(page, "clients")
    heading, *rows = table
    assert heading[1:5] == ["Client", "Train", "Held out", "Local-only"]
    assert [cell for cell in heading if cell in ("Federated", "Corrected", "Centralised")] == [
        "Federated",
        "Corrected",
        "Centralised",
    ]
    at = heading.index("Federated")
    assert heading[at : at + 6] == [
        "Federated",
        "95 % interval",
        "Balanced",
        "Gain",
        "95 % interval",
        "Verdict",
    ]
    verdicts, own = mcnemar(ran), right(ran)
    assert [row[1] for row in rows] == NAMES
    for row, (name, train, held) in zip(rows, ran.parts(), strict=True):
        assert row[2:4] == [f"{len(train):,}", f"{len(held):,}"]
        hits, n = int(own[name].sum()), len(held)
        share = f"{hits} of {n}" if n < 100 else pc(hits / n)
        low, high = binomtest(hits, n).proportion_ci(method="wilson")
        balanced = balanced_accuracy_score(ran.data["y"][held], ran.predicted(held))
        alone = float(told(ran)[name]["local_only_accuracy"])
        assert row[at : at + 3] == [share, f"{100 * low:.1f} to {100 * high:.1f}", pc(balanced)]
        assert row[at + 3] == signed(hits / n - alone)
        mark = {"better": "▲ better", "worse": "▼ worse"}.get(verdicts[name], verdicts[name])
        assert row[at + 5] == mark
        assert row[0] == ("harmed" if verdicts[name] == "worse" else "")
        local = round(alone * n)
        assert row[4] == (f"{local} of {n}" if n < 100 else pc(local / n))


def test_the_list_for_a_telephone_has_the_largest_gain_first(ran: Ran, page: str) -> None:
    listed = re.search(r'<ul class="gains narrow">(.*?)</ul>', page, re.DOTALL)
    assert listed is not None
    names = re.findall(r"<h3>([^<]*)</h3>", listed[1])
    gains = {
        name: own.mean() - float(told(ran)[name]["local_only_accuracy"])
        for name, own in right(ran).items()
    }
    assert names == sorted(NAMES, key=lambda name: -gains[name])
    shown = re.findall(r'<b class="points( worse)?">([^ <]*) ?([▲▼]?)</b>', listed[1])
    verdicts = {way: mcnemar(ran, way) for way in ("federated", "corrected")}
    expected = [(name, way) for name in names for way in ("federated", "corrected")]
    for (style, gain, mark), (name, way) in zip(shown, expected, strict=True):
        verdict = verdicts[way][name]
        assert (style == " worse") == (verdict == "worse")
        assert mark == {"better": "▲", "worse": "▼"}.get(verdict, "")
        if way == "federated":
            assert gain == signed(gains[name])


def test_the_top_of_the_page_has_the_totals(ran: Ran, page: str) -> None:
    top = page[page.index("<h1>") : page.index("<section")]
    own = right(ran)
    hits, n = sum(int(one.sum()) for one in own.values()), sum(map(len, own.values()))
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    card = re.search(r'<div class="way federated">(.*?)</div>', top, re.DOTALL)
    assert card is not None
    assert f'<dd class="figure">{pc(hits / n)}</dd>' in card[1]
    assert f'<dd class="interval">{100 * low:.1f} to {100 * high:.1f}</dd>' in card[1]
    clients = [one.mean() for one in own.values()]
    assert f"mean client {pc(np.mean(clients))}" in card[1]
    assert f"worst client {pc(min(clients))}" in card[1]
    facts = {
        words.strip(): number
        for number, words in re.findall(r"<li><b>([^<]*)</b>([^<]*)</li>", top)
    }
    assert facts["training examples"] == f"{sum(len(train) for _, train, _ in ran.parts()):,}"
    assert facts["held out"] == f"{n:,}"
    ledger = ran.table("egress.csv")
    for way in ("up", "down"):
        size = sum(int(row["bytes"]) for row in ledger if row["direction"] == way)
        assert facts[way] == f"{size / 1000:.1f} kB"
    worse = sum(verdict == "worse" for verdict in mcnemar(ran).values())
    assert re.search(rf'href="#clients"><b>{worse}</b> of 5 worse off than local-only', top)


def test_where_all_sites_take_part_none_is_unseen(ran: Ran, page: str) -> None:
    assert 'id="unseen"' not in page
    assert "unseen_site" not in ran.summary()


def test_the_answer_says_who_gains_and_how_surely(ran: Ran, page: str) -> None:
    gain = ran.summary()["gains"]["federated"]
    own, rows = right(ran), told(ran)
    n = sum(map(len, own.values()))
    hits = sum(int(one.sum()) for one in own.values())
    alone = sum(round(float(row["local_only_accuracy"]) * len(own[c])) for c, row in rows.items())
    assert gain["accuracy"] == pytest.approx((hits - alone) / n)
    told_counts = []
    for way in ("federated", "corrected"):
        counts = list(mcnemar(ran, way).values())
        found = ran.summary()["gains"][way]
        told_counts.append((found["better"], found["worse"], found["no_clear_difference"]))
        assert told_counts[-1] == tuple(
            counts.count(verdict) for verdict in ("better", "worse", "no clear difference")
        )
    assert any(better != worse for better, worse, _ in told_counts), "else they could be swapped"
    counts = list(mcnemar(ran).values())
    assert gain["low"] < gain["accuracy"] < gain["high"]
    top = page[page.index("<h1>") : page.index("<section")]
    better, worse = counts.count("better"), counts.count("worse")
    assert f"{better} better off, {worse} worse, {5 - better - worse} no clear difference" in top
    clear = not gain["low"] <= 0 <= gain["high"]
    title = re.search("<h1>(.*?)</h1>", page)
    assert title is not None
    assert ("neither clearly gain nor lose" in title[1]) == (not clear)
    assert "Dale" in top, "who trains on the fewest examples"
    assert ran.summary()["harmed_clients"] == [
        at for at, name in enumerate(NAMES) if mcnemar(ran)[name] == "worse"
    ]


def test_the_section_on_what_left_is_the_ledger_summed(ran: Ran, page: str) -> None:
    *rows, up, down = tables_of(page, "egress")[0][1:]
    totals: dict[tuple[str, str, str], list[int]] = {}
    for row in ran.table("egress.csv"):
        key = ("↑" if row["direction"] == "up" else "↓", row["record"], row["shape"])
        totals.setdefault(key, []).append(int(row["bytes"]))
    sizes = {key: sum(each) for key, each in totals.items()}
    expected = sorted(sizes, key=lambda key: (key[0] != "↑", -sizes[key]))
    shown = [(row[1][0], row[2], row[3], row[4], row[5]) for row in rows]
    told_sizes = [
        f"{size / 1000:.1f} kB" if size >= 1000 else f"{size} B"
        for size in (sizes[key] for key in expected)
    ]
    assert [one[:3] for one in shown] == expected
    assert [one[3] for one in shown] == [f"{len(totals[key]):,}" for key in expected]
    assert [one[4] for one in shown] == told_sizes
    for row, arrow in ((up, "↑"), (down, "↓")):
        total = sum(size for key, size in sizes.items() if key[0] == arrow)
        assert row[1][0] == arrow
        assert row[5] == f"{total / 1000:.1f} kB"


def test_the_most_frequent_confusions_are_those_of_the_head(ran: Ran, page: str) -> None:
    held = np.concatenate([held for _, _, held in ran.parts()])
    counts = confusion_matrix(ran.data["y"][held], ran.predicted(held))
    ((_, *rows),) = tables_of(page, "confusion")
    for (_, true, taken, examples, share), following in zip(rows, [*rows[1:], None], strict=True):
        a, b = int(true), int(taken)
        assert a != b
        assert int(examples) == counts[a, b]
        assert share == pc(counts[a, b] / counts[a].sum())
        assert following is None or int(following[3]) <= int(examples)


def test_the_same_training_on_pooled_data_has_students_interval_over_shuffles(ran: Ran) -> None:
    training = ran.summary()["centralised_training"]
    assert training["shuffles"] == 3
    for one in (training["own_data"], training["new_data"]):
        half = t.ppf(0.975, 2) * one["sd"] / np.sqrt(3)
        ends = [one["accuracy"] - half, one["accuracy"] + half]
        assert [one["low"], one["high"]] == pytest.approx(ends)
    assert training["own_data"]["sd"] > 0


# --- charts ---------------------------------------------------------------------------------------


def test_bars_of_clients_are_their_accuracies_in_order_of_gain(ran: Ran) -> None:
    rows = told(ran)
    gains = {n: own.mean() - float(rows[n]["local_only_accuracy"]) for n, own in right(ran).items()}
    order = sorted(NAMES, key=lambda name: -gains[name])
    for way in ("local_only", "federated", "corrected"):
        (((places, widths, _), _),) = ran.calls("barh", color=COLOURS[way])
        expected = [float(rows[name][f"{way}_accuracy"]) for name in order]
        np.testing.assert_allclose(widths, expected, atol=1e-6)
        assert np.array_equal(np.rint(places), range(5))
    ticks = [args for args, _ in ran.calls("set_yticks") if list(args[-1]) == order]
    assert ticks, "rows are named in the same order"
    lines = [args for args, given in ran.calls("plot", color=theme.INK) if given.get("lw") == 1]
    assert len(lines) == 15
    for name in NAMES:
        row = rows[name]
        span = [float(row["federated_low"]), float(row["federated_high"])]
        assert any(np.allclose(args[0], span, atol=1e-6) for args in lines), name


def test_bars_of_the_harmed_alone_are_hatched(ran: Ran) -> None:
    expected = [
        float(row[f"{way}_accuracy"])
        for way in ("federated", "corrected")
        for name, row in told(ran).items()
        if mcnemar(ran, way)[name] == "worse"
    ]
    np.testing.assert_allclose(sorted(ran.hatched), sorted(expected), atol=1e-6)


def test_the_map_of_who_holds_what_has_shares_of_each_clients_examples(ran: Ran) -> None:
    counts = np.array(
        [
            np.bincount(ran.data["y"][np.concatenate([train, held])], minlength=CLASSES)
            for _, train, held in ran.parts()
        ]
    )
    (labels, _), (confusion, _) = ran.calls("imshow")
    np.testing.assert_allclose(labels[0], counts / counts.sum(1, keepdims=True))
    held = np.concatenate([held for _, _, held in ran.parts()])
    matrix = confusion_matrix(ran.data["y"][held], ran.predicted(held))
    np.testing.assert_allclose(confusion[0], matrix / matrix.sum(1, keepdims=True))
    (((places, totals), _),) = ran.calls("barh", color=theme.MUTED)
    assert list(places) == list(range(5))
    assert list(totals) == counts.sum(1).tolist()
    assert ("predicted class",) in [args for args, _ in ran.calls("set_xlabel")]
    assert ("true class",) in [args for args, _ in ran.calls("set_ylabel")]


def test_lines_by_round_are_the_rounds_and_the_other_ways(ran: Ran) -> None:
    metrics, summary = ran.metrics(), ran.summary()
    rounds = list(range(1, ROUNDS + 1))
    drawn = [args for args, given in ran.calls("plot", color=theme.FEDERATED)]
    curves = [args for args in drawn if len(args) >= 2 and list(np.ravel(args[0])) == rounds]
    series = [
        [row[name] for row in metrics]
        for name in ("worst_client_accuracy", "accuracy", "loss", "train_loss")
    ]
    # For a desk, and for a telephone.
    assert len(curves) == 2 * len(series)
    for at, args in enumerate(curves):
        np.testing.assert_allclose(args[1], series[at % 4])
    styles = [args[2] for args in curves if len(args) > 2]
    assert styles == ["-", ":"] * 2
    for way in ("local_only", "corrected", "centralised"):
        levels = [args[0] for args, _ in ran.calls("axhline", color=COLOURS[way])]
        assert levels == [summary[way]["accuracy"]] * 2


# --- the terminal ---------------------------------------------------------------------------------


def test_the_terminal_has_the_same_numbers(ran: Ran) -> None:
    lines = ran.end.stdout.splitlines()
    own, rows, verdicts = right(ran), told(ran), mcnemar(ran)
    for name, train, held in ran.parts():
        (line,) = [line for line in lines if line.startswith(name)]
        hits, n = int(own[name].sum()), len(held)
        alone = float(rows[name]["local_only_accuracy"])
        ours = f"{hits} of {n}" if n < 100 else pc(hits / n)
        local = f"{round(alone * n)} of {n}" if n < 100 else pc(alone)
        mark = {"better": "▲", "worse": "▼"}.get(verdicts[name], "")
        gain = signed(hits / n - alone)
        assert re.match(rf"{name} +{len(train)} +{local} +{ours} +{re.escape(gain)} ?{mark}", line)
    summary = ran.summary()
    accuracy = next(line for line in lines if line.startswith("accuracy"))
    assert accuracy.split()[1:] == [pc(summary[way]["accuracy"]) for way in WAYS]
    spans = next(line for line in lines if line.strip().startswith("95 % interval"))
    assert spans.split()[3:] == [
        f"{100 * summary[way]['accuracy_low']:.1f}–{100 * summary[way]['accuracy_high']:.1f}"
        for way in WAYS
    ]
    text = " ".join(lines)
    for way in ("federated", "corrected"):
        counts = list(mcnemar(ran, way).values())
        better, worse = counts.count("better"), counts.count("worse")
        total = re.escape(signed(summary["gains"][way]["accuracy"]))
        said = (
            rf"{way}: {total} points over local-only \([^)]*\); {better} better, {worse} worse, +"
        )
        assert re.search(rf"{said}{5 - better - worse} no +clear", text), way
    sizes = {way: sum(int(row["bytes"]) for row in ran.table("egress.csv")
                      if row["direction"] == way) for way in ("up", "down")}  # fmt: skip
    assert f"up {sizes['up'] / 1000:.1f} kB, down {sizes['down'] / 1000:.1f} kB" in text
