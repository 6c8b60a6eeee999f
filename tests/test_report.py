"""The report: a page that is well-formed and safe, tables that fit, progress that pipes."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from fedtl.determinism import generator
from fedtl.report.answer import smallest, verdict
from fedtl.report.html import write_report
from fedtl.report.over_seeds import SeedScores, over_seeds
from fedtl.report.progress import RunProgress
from fedtl.report.result import (
    ClientRow,
    ClientSamples,
    EgressTotal,
    Gain,
    OwnScore,
    RunResult,
)
from fedtl.report.tables import client_table, time_parts, totals_table
from fedtl.report.wording import (
    byte_size,
    duration,
    percent,
    points,
    printable,
    shortened,
)
from fedtl.statistics.intervals import Clusters, Interval, Pairs
from fedtl.statistics.verdicts import verdicts


def plausible_result(
    *,
    clients: int = 10,
    classes: Sequence[str] = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"),
    client_names: Sequence[str] = (),
    rounds: int = 30,
    with_centralised: bool = True,
    with_samples: bool = True,
    with_failures: bool = False,
    test_split: bool = True,
    with_personal: bool = False,
    global_head: bool = True,
) -> RunResult:
    """Return a result as a skewed federation would have it: most gain, a few are harmed."""
    random = generator(0, "report test", clients, len(classes))
    count = len(classes)
    names = tuple(client_names) or tuple(f"hospital_{index:02d}" for index in range(clients))
    mix = random.dirichlet(np.full(count, 0.3), size=clients)
    sizes = random.integers(40, 400, size=clients)
    labels = np.stack([random.multinomial(size, row) for size, row in zip(sizes, mix, strict=True)])
    held_out = sizes - sizes * 4 // 5
    shares = {"federated": np.clip(random.normal(0.87, 0.05, clients), 0, 1)}
    shares["local_only"] = np.clip(shares["federated"] - random.normal(0.2, 0.3, clients), 0, 1)
    shares["corrected"] = np.clip(shares["federated"] + 0.02, 0, 1)
    if with_centralised:
        shares["centralised"] = np.clip(shares["federated"] + 0.01, 0, 1)
    if with_personal:
        shares["personal"] = shares["federated"]
    if not global_head:
        del shares["corrected"]
    right = {
        way: [random.random(count) < share for count, share in zip(held_out, of, strict=True)]
        for way, of in shares.items()
    }
    ours = [way for way in ("federated", "corrected", "personal") if way in right]
    pairs = {
        way: {
            index: Pairs.of(right["local_only"][index], right[way][index], None)
            for index in range(clients)
        }
        for way in ours
    }
    judged = {way: verdicts(told) for way, told in pairs.items()}
    rows = [
        ClientRow(
            client=index,
            name=names[index],
            examples=int(sizes[index] * 4 // 5),
            held_out=int(held_out[index]),
            label_counts=labels[index],
            scores={way: _own_score(each[index]) for way, each in right.items()},
            gains={
                way: Gain(
                    told[index].gain,
                    told[index].interval or Interval(0, 0),
                    judged[way][index],
                    told[index],
                )
                for way, told in pairs.items()
            },
            method="lda",
        )
        for index in range(clients)
    ]
    curve = 0.87 - 0.6 * np.exp(-np.arange(rounds) / 5) + random.normal(0, 0.004, rounds)
    if rounds == 1:
        curve[:] = 0.87
    failures = {
        4: [(1, "timed out after 30 s")],
        7: [(1, "timed out after 30 s"), (0, "not finite")],
    }
    metrics = [
        {
            "round": index + 1,
            "loss": float(2.2 - 2 * curve[index]),
            "accuracy": float(curve[index]) - 0.01,
            "mean_client_accuracy": float(curve[index]) - 0.02,
            "worst_client_accuracy": float(curve[index]) * 0.8,
            "train_loss": float(2.0 - 2 * curve[index]) if rounds > 1 else math.nan,
            "test_accuracy": float(curve[index]) if test_split else None,
            "clients": clients,
            "failed": [
                {"client": client, "reason": reason}
                for client, reason in failures.get(index + 1, [])
                if with_failures
            ],
            "bytes_up": 20_520 * clients,
            "bytes_down": 20_520 * clients,
            "seconds": 0.04,
        }
        for index in range(rounds)
    ]
    confusion = random.poisson(400 / count**2, size=(count, count))
    confusion += np.diag(random.integers(60, 200, size=count))
    samples = [
        ClientSamples(
            name=names[index],
            images=[_cell_picture(index, shot) for shot in range(9)],
            labels=[classes[shot % count] for shot in range(9)],
        )
        for index in range(min(clients, 3) if with_samples else 0)
    ]

    def scores(accuracy: float) -> dict[str, float]:
        return {
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.021,
            "accuracy_high": accuracy + 0.019,
            "balanced_accuracy": accuracy - 0.012,
            "mean_client_accuracy": accuracy - 0.02,
            "worst_client_accuracy": accuracy - 0.12,
            "correct": round(1000 * accuracy),
            "examples": 1000,
            "groups": 1000,
        }

    used = "personal" if with_personal else "federated"
    harmed = [row.client for row in rows if row.verdict(used) == "worse"]

    return RunResult(
        config={
            "clients": clients,
            "rounds": rounds,
            "data": "hospitals",
            "backbone": "fedtl-tiny",
            "strategy": "fedavg" if rounds > 1 else "fed3r",
            "partition": "dirichlet",
            "alpha": 0.3,
            "learning-rate": 0.1,
            "batch-size": 32,
            "local-epochs": 1,
            "seed": 0,
            "cache": True,
            "held-out-fraction": 0.2,
            "client-cpus": 1.0,
            "client-gpus": 0.0,
            "precision": "float32",
        },
        classes=tuple(classes),
        client_names=names,
        label_counts=labels,
        rounds=metrics,
        clients=rows,
        confusion=confusion,
        egress=[
            EgressTotal(
                "up",
                "arrays",
                f"weight {count}\N{MULTIPLICATION SIGN}512, bias {count}",
                300,
                6_156_000,
            ),
            EgressTotal("up", "metrics", "loss, accuracy, num-examples", 310, 37_200),
            EgressTotal(
                "down",
                "arrays",
                f"weight {count}\N{MULTIPLICATION SIGN}512, bias {count}",
                310,
                6_361_200,
            ),
            EgressTotal("down", "config", "server-round, learning-rate", 310, 24_800),
        ],
        samples=samples,
        summary={
            "head_sha256": "3f1b" * 16,
            "rounds": rounds,
            "clients": clients,
            "strategy": "fedavg" if rounds > 1 else "fed3r",
            "backbone_fingerprint": "a90c" * 16,
            "global_head": global_head,
            "federated": scores(0.874),
            "personal": scores(0.851) if with_personal else None,
            "local_only": scores(0.64),
            "centralised": scores(0.882) if with_centralised else None,
            "corrected": scores(0.893) if global_head else None,
            "scored_on": "all clients' own held-out examples (1,234)",
            "on_new_data": {
                "scored_on": "a test part that is no client's (1,000 examples)",
                "examples": 1000,
                "federated": scores(0.861),
                "personal": None,
                "local_only": scores(0.512),
                "centralised": scores(0.883) if with_centralised else None,
            }
            if test_split
            else None,
            "gains": {
                way: {
                    "accuracy": 0.234,
                    "low": 0.101,
                    "high": 0.367,
                    "better": 3,
                    "no_clear_difference": clients - 3 - len(harmed),
                    "worse": len(harmed),
                }
                for way in ours
            },
            "harmed_clients": harmed,
            "bytes_up": 6_193_200,
            "bytes_down": 6_386_000,
            "seconds": {
                "total": 18.2,
                "start_up": 5.1,
                "features": 8.4,
                "rounds": 1.3,
                "per_round_median": 0.0412,
            },
            "peak_rss_mb": 812.4,
            "versions": {"fedtl": "0.1.0", "flwr": "1.41.0", "torch": "2.14.1", "python": "3.11.2"},
        },
        warnings=["2 images could not be read and are left out (unreadable.csv names them)."]
        if with_failures
        else [],
    )


def _own_score(right: np.ndarray[Any, np.dtype[np.bool_]]) -> OwnScore:
    scored = Clusters.of(right, None)
    share = scored.correct / scored.examples
    assert scored.interval is not None
    return OwnScore(share, 0.9 * share, scored.correct, scored.examples, scored.interval)


def _cell_picture(client: int, shot: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a stained disc on a pale ground, 48×48, its tint the client's."""
    random = generator(0, "cell picture", client, shot)
    y, x = np.mgrid[:48, :48]
    centre, radius = random.uniform(18, 30, 2), random.uniform(9, 17)
    disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
    ground = np.array([236, 214 - 12 * client, 222])
    stain = np.array([120 + 20 * client, 70, 150])
    noise = random.normal(0, 6, (48, 48, 3))
    return np.clip(np.where(disc, stain, ground) + noise, 0, 255).astype(np.uint8)


class _Page(HTMLParser):
    """Checks that every element is closed in order, and keeps texts, links and element names."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images_without_alt = 0
        self.rows: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}
        ]
        if tag == "img" and not values.get("alt"):
            self.images_without_alt += 1
        if tag == "tr":
            self.rows.append((values.get("class") or "", ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes {self.open[-3:]}"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "tr" in self.open:
            style, text = self.rows[-1]
            self.rows[-1] = (style, text + data)


def _page_of(result: RunResult, folder: Path) -> tuple[_Page, str]:
    path = folder / "report.html"
    write_report(path, result)
    markup = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(markup)
    page.close()
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)), "an id stands for two elements"
    return page, markup


SHAPES: dict[str, dict[str, Any]] = {
    "ten clients": {},
    "two clients, one round": {
        "clients": 2,
        "classes": ("ants", "bees"),
        "rounds": 1,
        "test_split": False,
    },
    "failures, no centralised": {"with_failures": True, "with_centralised": False},
    "200 clients": {"clients": 200, "classes": ("parasitized", "uninfected"), "rounds": 1},
    "10,000 clients": {"clients": 10_000, "with_samples": False},
    "personal heads": {"with_personal": True},
    "personal heads, one round": {"with_personal": True, "rounds": 1},
    "200 clients with personal heads": {"clients": 200, "with_personal": True},
    "no global head": {"global_head": False},
    "120 classes": {"classes": tuple(f"class {index}" for index in range(120)), "rounds": 2},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_page_is_well_formed_and_asks_for_nothing(shape: str, tmp_path: Path) -> None:
    page, markup = _page_of(plausible_result(**SHAPES[shape]), tmp_path)

    assert page.links and all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"url\((?!#)|@import", markup)
    assert not {"iframe", "object", "embed"} & set(page.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", markup, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
    assert f"content=\"{policy} 'sha256-{digest}'\"" in markup
    assert page.tags.count("script") == 1
    assert page.images_without_alt == 0
    shown = re.sub(r"base64,[^\"]*", "", markup).replace(script, "").replace(digest, "")
    assert "nan" not in shown.lower()
    assert len(markup) < 1_000_000


def test_page_names_every_client_and_class_when_they_are_few(tmp_path: Path) -> None:
    result = plausible_result()
    page, _ = _page_of(result, tmp_path)
    shown = {text.strip() for text in page.texts}
    assert set(result.client_names) <= shown
    assert set(result.classes) <= shown
    assert page.tags.count("img") == 27


def test_page_says_what_many_clients_are_put_together_to(tmp_path: Path) -> None:
    page, _ = _page_of(plausible_result(clients=10_000, with_samples=False), tmp_path)
    text = " ".join(page.texts)
    assert "10,000 clients, ordered by their most frequent class, are drawn in 50 bands" in text
    assert "9,800 more in clients.csv" in text
    assert "Sample images" not in text


def test_page_marks_exactly_the_harmed_clients(tmp_path: Path) -> None:
    result = plausible_result(clients=40)
    harmed = {row.name for row in result.clients if row.verdict("federated") == "worse"}
    assert 0 < len(harmed) < 40
    page, _ = _page_of(result, tmp_path)
    marked = {text for style, text in page.rows if style == "harmed"}
    assert {name for name in result.client_names if any(name in text for text in marked)} == harmed
    table = [text for style, text in page.rows if style == "harmed"]
    assert all("▼ worse" in text for text in table)


def test_page_shows_personal_heads_with_a_mark_of_their_own(tmp_path: Path) -> None:
    for rounds in (1, 5):
        _, markup = _page_of(plausible_result(with_personal=True, rounds=rounds), tmp_path)
        pictures = re.findall(r"<svg .*?</svg>", markup, re.DOTALL)
        drawn = [picture for picture in pictures if "var(--personal)" in picture]
        charts = {re.sub(r"^.*?id=\"([a-z]+)-.*$", r"\1", one, flags=re.DOTALL) for one in drawn}
        assert charts == {"rounds", "clients"}, "by round or score, and by client"
        assert '<div class="way personal"><dt>Personal</dt><dd class="figure">85.1%' in markup
        assert "with the heads of their own" in markup
    _, without = _page_of(plausible_result(), tmp_path)
    assert "ersonal" not in re.sub(r"<style>.*?</style>", "", without, flags=re.DOTALL)


def test_page_without_a_global_head_compares_clients_on_their_own_examples(tmp_path: Path) -> None:
    result = plausible_result(global_head=False)
    assert verdict(result).startswith("Compared with working alone, clients gain 23.4 points.")
    _, markup = _page_of(result, tmp_path)
    last = percent(result.rounds[-1]["mean_client_accuracy"])
    assert f"personal, mean client {last}" in markup
    assert '<div class="way personal"><dt>Personal</dt><dd class="figure">87.4%' in markup
    assert not re.search(r"federated|(global|shared) head", markup.partition("</style>")[2], re.I)


def test_page_lists_failures_warnings_and_what_left(tmp_path: Path) -> None:
    page, _ = _page_of(plausible_result(with_failures=True), tmp_path)
    rows = {re.sub(r"\s+", " ", text) for _, text in page.rows}
    assert "hospital_014, 7timed out after 30 s" in rows
    assert "hospital_007not finite" in rows
    assert "↑ site to serverarraysweight 5\N{MULTIPLICATION SIGN}512, bias 53006.2 MB" in rows
    assert any("2 images could not be read" in text for text in page.texts)

    calm, _ = _page_of(plausible_result(clients=2, rounds=1), tmp_path)
    assert any("None: every client answered" in text for text in calm.texts)


HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "</style><img src=http://example.org/x>",
    "$\\frac{",
    "a\x1b[31mb\nc\udcff",
)


def test_page_shows_hostile_names_as_text(tmp_path: Path) -> None:
    result = plausible_result(clients=5, client_names=HOSTILE, classes=HOSTILE, with_failures=True)
    result = replace(
        result,
        config={**result.config, "data": HOSTILE[0]},
        warnings=HOSTILE,
        egress=[replace(total, contents=HOSTILE[2]) for total in result.egress],
    )
    page, markup = _page_of(result, tmp_path)
    assert page.tags.count("script") == 1
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "\x1b" not in markup
    assert HOSTILE[0] in {text.strip() for text in page.texts}


def test_page_of_a_run_that_scored_nothing_still_opens(tmp_path: Path) -> None:
    result = plausible_result(rounds=3)
    nothing: dict[str, Any] = {"scores": {}, "gains": {}}
    unscored = dict.fromkeys(("federated", "corrected", "local_only", "centralised", "on_new_data"))
    missing = ("loss", "accuracy", "worst_client_accuracy", "train_loss", "test_accuracy")
    for clients in (10, 100):
        wide = plausible_result(clients=clients, rounds=3)
        blank = replace(
            wide,
            clients=[replace(row, **nothing) for row in wide.clients],
            rounds=[{**row, **dict.fromkeys(missing)} for row in wide.rounds],
            confusion=None,
            samples=(),
            egress=(),
            summary={**result.summary, **unscored, "gains": {}, "harmed_clients": []},
        )
        page, _ = _page_of(blank, tmp_path)
        assert any("could not be scored" in text for text in page.texts)


def test_same_result_gives_the_same_page(tmp_path: Path) -> None:
    pages = [_page_of(plausible_result(clients=2), tmp_path)[1] for _ in range(2)]
    assert pages[0] == pages[1]


def _gain(accuracy: float | None, low: float | None = None, **verdicts: int) -> dict[str, Any]:
    high = None if low is None or accuracy is None else 2 * accuracy - low
    counts = {"better": 0, "no_clear_difference": 0, "worse": 0, **verdicts}
    return {"accuracy": accuracy, "low": low, "high": high, **counts}


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        (
            {"federated": _gain(0.042, 0.011, better=4, no_clear_difference=6)},
            "Compared with working alone, clients gain 4.2 points.",
        ),
        (
            {"federated": _gain(-0.01, -0.05, worse=1), "corrected": _gain(0.03, 0.01, better=1)},
            "Compared with working alone, clients neither clearly gain nor lose (−1.0 point), but "
            "gain 3.0 points if the shared head is read with their own mix of classes.",
        ),
        (
            {"federated": _gain(-0.04, -0.05), "personal": _gain(0.02, 0.01)},
            "Compared with working alone, clients lose 4.0 points, but gain 2.0 points with the "
            "heads of their own.",
        ),
        (
            {"federated": _gain(-0.04, -0.05), "corrected": _gain(-0.03, -0.07)},
            "Compared with working alone, clients lose 4.0 points; if the shared head is read with "
            "their own mix of classes, a loss of 3.0 points is not clear.",
        ),
        (
            {"federated": _gain(0.0), "personal": _gain(0.02, -0.01)},
            "Compared with working alone, clients neither clearly gain nor lose (0.0 points), nor "
            "with the heads of their own (+2.0).",
        ),
        ({"federated": _gain(None)}, "The federated head could not be scored."),
    ],
)
def test_verdict(gains: dict[str, Any], sentence: str) -> None:
    result = plausible_result(clients=2)
    assert verdict(replace(result, summary={**result.summary, "gains": gains})) == sentence


def _printed(table: Table, width: int = 80) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=False).print(table)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("clients", [1, 10, 20, 21, 200])
def test_tables_fit_80_columns(clients: int, personal: bool) -> None:
    names = [f"St. {'Very ' * 9}Long Name Hospital, ward {index}" for index in range(clients)]
    result = plausible_result(
        clients=clients, client_names=names, with_failures=True, with_personal=personal
    )
    huge = [replace(row, examples=1_234_567, held_out=234_567) for row in result.clients]
    result = replace(result, clients=huge)
    lines = _printed(client_table(result))
    assert max(map(len, lines)) <= 80
    own = ["Corrected", "Personal"] if personal else ["Federated", "Corrected"]
    for heading in ("Client", "Train", "Local", *own, "Gain"):
        assert heading in lines[0]
    body = [line for line in lines if "1,234,567" in line]
    assert len(body) == (clients if clients <= 20 else 16)
    for line in body:
        share, gain = r" +(?:\d+ of \d+|[\d.]+%)", r" +\S?\d+\.\d(?: [▲▼])?"
        assert re.search(rf"1,234,567{share}{share}{gain}{share}{gain}", line)
        assert line.count("…") == 1  # the name, nothing else
        assert re.search(r"d \d+  1,234,567", line)

    totals = _printed(totals_table(result))
    figures = r"64.0% +87.4% +89.3% +85.1% +88.2%" if personal else r"64.0% +87.4% +89.3% +88.2%"
    assert max(map(len, totals)) <= 80
    assert not any("…" in line for line in totals)
    assert any(re.search(f"accuracy +{figures}", line) for line in totals)
    assert any(re.search(r"on new data +51.2% +86.1%", line) for line in totals)


def test_client_table_keeps_the_worst_and_the_best() -> None:
    result = plausible_result(clients=200)
    lines = _printed(client_table(result))
    gains = sorted((row.gain("federated") or 0.0, row.client) for row in result.clients)
    expected = [result.client_names[client] for _, client in gains[:8] + gains[-8:]]
    assert [line.split()[0] for line in lines if line.startswith("hospital")] == expected
    assert any("184 clients left out" in line for line in lines)


def test_totals_without_a_centralised_head() -> None:
    lines = _printed(totals_table(plausible_result(with_centralised=False)))
    assert any(re.search("accuracy +64.0% +87.4% +89.3% +\N{EN DASH}", line) for line in lines)


def test_the_parts_of_the_time_are_all_of_it() -> None:
    summary = plausible_result().summary
    parts = dict(time_parts(summary))
    assert list(parts) == ["start-up", "features", "30 rounds", "other"]
    assert sum(parts.values()) == pytest.approx(18.2)
    summary["seconds"] |= {"handshake": 3.4, "unseen_sites": 0.0}
    assert "other" not in dict(time_parts(summary))
    assert sum(dict(time_parts(summary)).values()) == pytest.approx(18.2)


def test_tables_take_names_as_text() -> None:
    names = ["[red]site[/red]", "[/]", "tab\there", "\x1b[31m", "ok"]
    lines = _printed(client_table(plausible_result(clients=5, client_names=names)))
    assert any("[red]site[/red]" in line for line in lines)
    assert not any("\x1b" in line or "\t" in line for line in lines)


def _run(progress: RunProgress) -> None:
    with progress:
        progress.status("starting the actors")
        progress.features(500, 2000)
        for done in range(600, 2001, 100):
            progress.features(done, 2000)
        progress.note("1 image could not be read: [bold]x\x1b[31m.png")
        for done in range(1, 31):
            progress.round(done, 30, 0.874 if done > 1 else None)


def test_piped_progress_is_a_few_plain_lines() -> None:
    output = io.StringIO()
    _run(RunProgress(Console(file=output, width=40)))
    text = output.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    lines = text.splitlines()
    assert lines[0] == "starting the actors"
    assert lines[1] == "features of 2,000 images, 500 cached"
    assert re.fullmatch(r"features 2,000/2,000 images, [\d,]+ images/s", lines[2])
    assert lines[3].startswith("1 image could not be read: [bold]x")
    rounds = lines[4:]
    assert rounds[0] == "round 3/30 accuracy .874"
    assert rounds[-1] == "round 30/30 accuracy .874"
    assert len(rounds) == 10


def test_piped_progress_of_cached_features_and_one_round() -> None:
    output = io.StringIO()
    with RunProgress(Console(file=output)) as progress:
        progress.features(2000, 2000)
        progress.round(1, 1, 1.0)
    assert output.getvalue() == ("features 2,000/2,000 images, cached\nround 1/1 accuracy 1.000\n")


def test_piped_progress_of_long_work_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("fedtl.report.progress.time.perf_counter", lambda: now[0])
    output = io.StringIO()
    with RunProgress(Console(file=output, force_terminal=False)) as progress:
        for second in range(0, 301, 10):
            now[0] = 1000.0 + second
            progress.features(10 * second, 6000)
    lines = output.getvalue().splitlines()
    assert lines == [
        "features of 6,000 images, 0 cached",
        "features 600/6,000 images, 10 images/s, 9 min 0 s left",
        "features 1,200/6,000 images, 10 images/s, 8 min 0 s left",
        "features 1,800/6,000 images, 10 images/s, 7 min 0 s left",
        "features 2,400/6,000 images, 10 images/s, 6 min 0 s left",
        "features 3,000/6,000 images, 10 images/s, 5 min 0 s left",
    ]


def test_piped_progress_tells_what_goes_on_if_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtl.report.progress._LINE_SECONDS", 0.05)
    output = io.StringIO()
    with RunProgress(Console(file=output, force_terminal=False)) as progress:
        progress.round(1, 9, None)
        progress.status("scoring all heads")
        deadline = time.monotonic() + 20
        while output.getvalue().count("so far") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    first, *reminders = output.getvalue().splitlines()[1:]
    assert first == "scoring all heads"
    assert len(reminders) >= 2
    assert all(re.fullmatch(r"scoring all heads: \d+ ms so far", line) for line in reminders)


def test_quiet_progress_prints_nothing() -> None:
    for terminal in (True, False):
        output = io.StringIO()
        _run(RunProgress(Console(file=output, force_terminal=terminal), quiet=True))
        assert output.getvalue() == ""


def test_terminal_progress_leaves_finished_bars_and_its_notes() -> None:
    output = io.StringIO()
    _run(RunProgress(Console(file=output, force_terminal=True, width=80)))
    assert "\x1b[?25h" in output.getvalue()  # the cursor is back
    final = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output.getvalue()).rsplit("\r", 1)[-1]
    assert "features 2,000/2,000" in final
    assert "images/s" in final
    assert "round 30/30" in final
    assert "accuracy .874" in final
    assert "starting the actors" not in final
    assert "could not be read: [bold]x" in output.getvalue()


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_fits_and_keeps_both_ends(name: str, width: int) -> None:
    short = shortened(name, width)
    whole = printable(name)
    assert len(short) <= width
    assert short.isprintable()
    if len(whole) <= width:
        assert short == whole
    else:
        head, _, tail = short.rpartition("…") if "…" not in whole else (short[:1], "", "")
        assert whole.startswith(head)
        assert whole.endswith(tail)


@given(st.floats(0, 1e15))
def test_byte_size_reads_back(count: float) -> None:
    number, unit = byte_size(count).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * factor == pytest.approx(count, rel=0.06, abs=0.5)
    assert unit == "TB" or float(number) < 1000


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.874), "87.4%"),
        (percent(math.nan), "\N{EN DASH}"),
        (points(0.234), "+23.4"),
        (points(-0.12), "\N{MINUS SIGN}12.0"),
        (points(-0.0001), "0.0"),
        (points(None), "\N{EN DASH}"),
        (duration(0.0012), "1.2 ms"),
        (duration(0.9999), "1.0 s"),
        (duration(99.97), "1 min 40 s"),
        (duration(7322), "2 h 2 min"),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected


def test_what_a_strategy_says_of_the_run_is_told_on_the_page_and_in_the_terminal(
    tmp_path: Path,
) -> None:
    plain = plausible_result()
    told = replace(plain, summary={**plain.summary, "note": "The sums chose a penalty of 3."})
    assert "The sums chose a penalty of 3." in html.unescape(_page_of(told, tmp_path)[1])
    assert "The sums chose a penalty of 3." in " ".join(_printed(totals_table(told)))


def _answers(markup: str) -> list[str]:
    """Return the texts of the two boxes at the top of the page, tags taken out."""
    (block,) = re.findall(r'<div class="answers">(.*?)<dl', markup, re.DOTALL)
    boxes = block.split('<div class="answer">')[1:]
    return [" ".join(re.sub(r"<[^>]*>", " ", box).split()) for box in boxes]


def test_the_first_screen_tells_the_smallest_client_by_name(tmp_path: Path) -> None:
    result = plausible_result()
    row = min(result.clients, key=lambda row: row.examples)
    assert smallest(result) is row
    everyone, own = _answers(_page_of(result, tmp_path)[1])
    assert everyone.startswith("All 10 clients")
    assert "Federated +23.4 +10.1 to +36.7 3 better off," in everyone
    gain = row.gains["federated"]
    low, high = (points(value) for value in gain.interval)
    assert own.startswith(f"The smallest: {row.name} {row.examples} training examples; alone right")
    assert f"Federated {points(gain.difference)} {low} to {high}" in own
    assert gain.verdict is not None and gain.verdict in own and "Corrected" in own

    # An interval on one side of zero beside "no clear difference" needs a word.
    unclear = replace(gain, interval=Interval(0.01, 0.3), verdict="no clear difference")
    rows = [
        replace(one, gains={"federated": unclear}) if one is row else one for one in result.clients
    ]
    _, own = _answers(_page_of(replace(result, clients=rows), tmp_path)[1])
    assert "no clear difference by the test, which is stricter than the interval" in own

    # A hostile client is not asked what federation brings it.
    honest = {way: replace(one, verdict=None) for way, one in row.gains.items()}
    rows = [replace(one, gains=honest) if one is row else one for one in result.clients]
    other = smallest(replace(result, clients=rows))
    assert other is not None and other.name != row.name


def test_marks_say_what_they_stand_for(tmp_path: Path) -> None:
    result = plausible_result(clients=5, client_names=HOSTILE)
    _, markup = _page_of(result, tmp_path)
    titles = re.findall(r"<g id=\"clients-bar-[^\"]*\"><title>([^<]*)</title>", markup)
    assert len(titles) == sum(len(row.scores) - 1 for row in result.clients)  # centralised: a tick
    score = result.clients[0].scores["local_only"]
    assert any(f"local-only: {score.correct} of {score.examples} right" in one for one in titles)


def test_a_note_of_the_run_and_how_heads_were_solved_are_told(tmp_path: Path) -> None:
    plain = plausible_result()
    training = {"accuracy": 0.9, "low": 0.88, "high": 0.92, "sd": 0.01}
    told = {
        "note": "the penalty is 3 < 4",
        "local_only_methods": {"ridge": 1, "lda": 9},
        "centralised_method": "softmax",
        "centralised_training": {"shuffles": 3, "own_data": training, "new_data": training},
    }
    _, markup = _page_of(replace(plain, summary={**plain.summary, **told}), tmp_path)
    assert "The penalty is 3 &lt; 4" in markup
    assert "Solved by LDA at 9 clients, ridge at 1 client." in markup
    assert "The same training on pooled data: 90.0% (88.0 to 92.0), mean of 3 shuffles." in markup
    assert "Same training, pooled, mean of 3" in markup
    told["centralised_training"] = {"shuffles": 1, "own_data": training, "new_data": training}
    _, once = _page_of(replace(plain, summary={**plain.summary, **told}), tmp_path)
    assert "Same training, pooled<" in once and "shuffle" not in once
    assert '<section id="new-data">' in markup
    _, without = _page_of(plausible_result(test_split=False), tmp_path)
    assert '<section id="new-data">' not in without and 'class="note"' not in without


def test_other_seeds_have_a_section(tmp_path: Path) -> None:
    def figures(shift: float) -> dict[str, dict[str, float | None]]:
        return {"local_only": {"accuracy": 0.6 - shift}, "federated": {"accuracy": 0.8 + shift}}

    scores = [SeedScores(seed, figures(shift), {}) for seed, shift in ((0, 0.01), (1, 0.03))]
    plain = plausible_result()
    summary = {**plain.summary, "over_seeds": over_seeds(scores)}
    page, _ = _page_of(replace(plain, summary=summary), tmp_path)
    assert any("Over 2 seeds" in text for text in page.texts)
    # t with one degree of freedom is 12.706; the gains are 22 and 26 points.
    (row,) = [text for _, text in page.rows if text.startswith("Federated82.0%")]
    assert "+24.0−1.4 to +49.4" in row
    assert row.startswith("Federated82.0%69.3 to 94.7")
    assert "seeds" not in _page_of(plain, tmp_path)[0].ids
