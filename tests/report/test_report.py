"""The page of a run: well-formed, safe, and telling what the run found."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parsed_page import Page, page_of
from plausible_result import HOSTILE, plausible_result

from fedtl.report.answer import verdict
from fedtl.results.over_seeds import SeedScores, over_seeds
from fedtl.wording import percent

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
    "personal heads": {"with_personal": True, "rounds": 5},
    "personal heads, one round": {"with_personal": True, "rounds": 1},
    "200 clients with personal heads": {"clients": 200, "with_personal": True},
    "no global head": {"global_head": False},
    "120 classes": {"classes": tuple(f"class {index}" for index in range(120)), "rounds": 2},
}
# Between them they have every chart, and each at its largest.
DRAWN_SHAPES = ("ten clients", "10,000 clients", "personal heads, one round", "120 classes")


@pytest.fixture(scope="module")
def drawn_page(
    undrawn: Callable[..., AbstractContextManager[None]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Page, str]]:
    """Return the page of a shape with its charts, drawn once."""

    @functools.cache
    def page(shape: str) -> tuple[Page, str]:
        with undrawn():
            return page_of(plausible_result(**SHAPES[shape]), tmp_path_factory.mktemp("page"))

    return page


@pytest.mark.parametrize("shape", SHAPES)
def test_page_is_well_formed_and_asks_for_nothing(
    shape: str, tmp_path: Path, drawn_page: Callable[[str], tuple[Page, str]]
) -> None:
    drawn = shape in DRAWN_SHAPES
    page, markup = (
        drawn_page(shape) if drawn else page_of(plausible_result(**SHAPES[shape]), tmp_path)
    )

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
    page, _ = page_of(result, tmp_path)
    shown = {text.strip() for text in page.texts}
    assert set(result.client_names) <= shown
    assert set(result.classes) <= shown
    assert page.tags.count("img") == 27


def test_page_says_what_many_clients_are_put_together_to(
    drawn_page: Callable[[str], tuple[Page, str]],
) -> None:
    page, _ = drawn_page("10,000 clients")
    text = " ".join(page.texts)
    assert "10,000 clients, ordered by their most frequent class, are drawn in 50 bands" in text
    assert "9,800 more in clients.csv" in text
    assert "Sample images" not in text


def test_page_marks_exactly_the_harmed_clients(tmp_path: Path) -> None:
    result = plausible_result(clients=40)
    harmed = {row.name for row in result.clients if row.verdict("federated") == "worse"}
    assert 0 < len(harmed) < 40
    page, _ = page_of(result, tmp_path)
    marked = {text for style, text in page.rows if style == "harmed"}
    assert {name for name in result.client_names if any(name in text for text in marked)} == harmed
    table = [text for style, text in page.rows if style == "harmed"]
    assert all("▼ worse" in text for text in table)


def test_page_shows_personal_heads_with_a_mark_of_their_own(
    drawn_page: Callable[[str], tuple[Page, str]],
) -> None:
    for shape in ("personal heads, one round", "personal heads"):
        _, markup = drawn_page(shape)
        pictures = re.findall(r"<svg .*?</svg>", markup, re.DOTALL)
        drawn = [picture for picture in pictures if "var(--personal)" in picture]
        charts = {re.sub(r"^.*?id=\"([a-z]+)-.*$", r"\1", one, flags=re.DOTALL) for one in drawn}
        assert charts == {"rounds", "clients"}, "by round or score, and by client"
        assert '<div class="way personal"><dt>Personal</dt><dd class="figure">85.1%' in markup
        assert "with the heads of their own" in markup
    _, without = drawn_page("ten clients")
    assert "ersonal" not in re.sub(r"<style>.*?</style>", "", without, flags=re.DOTALL)


@pytest.mark.usefixtures("drawn")
def test_page_without_a_global_head_compares_clients_on_their_own_examples(tmp_path: Path) -> None:
    result = plausible_result(global_head=False)
    assert verdict(result).startswith("Compared with local-only, clients gain 23.4 points.")
    _, markup = page_of(result, tmp_path)
    last = percent(result.rounds[-1].mean_client_accuracy)
    assert f"personal, mean client {last}" in markup
    assert '<div class="way personal"><dt>Personal</dt><dd class="figure">87.4%' in markup
    assert not re.search(r"federated|(global|shared) head", markup.partition("</style>")[2], re.I)


def test_page_lists_failures_warnings_and_what_left(tmp_path: Path) -> None:
    page, _ = page_of(plausible_result(with_failures=True), tmp_path)
    rows = {re.sub(r"\s+", " ", text) for _, text in page.rows}
    assert "hospital_014, 7timed out after 30 s" in rows
    assert "hospital_007not finite" in rows
    assert "↑ site to serverarraysweight 5\N{MULTIPLICATION SIGN}512, bias 53006.2 MB" in rows
    assert any("2 images could not be read" in text for text in page.texts)

    calm, _ = page_of(plausible_result(clients=2, rounds=1), tmp_path)
    assert any("None: every client answered" in text for text in calm.texts)


@pytest.mark.usefixtures("drawn")
def test_page_shows_hostile_names_as_text_and_marks_say_what_they_stand_for(tmp_path: Path) -> None:
    result = plausible_result(clients=5, client_names=HOSTILE, classes=HOSTILE, with_failures=True)
    result = replace(
        result,
        config={**result.config, "data": HOSTILE[0]},
        warnings=HOSTILE,
        egress=[replace(total, contents=HOSTILE[2]) for total in result.egress],
    )
    page, markup = page_of(result, tmp_path)
    assert page.tags.count("script") == 1
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "\x1b" not in markup
    assert HOSTILE[0] in {text.strip() for text in page.texts}
    titles = re.findall(r"<g id=\"clients-bar-[^\"]*\"><title>([^<]*)</title>", markup)
    assert len(titles) == sum(len(row.scores) - 1 for row in result.clients)  # centralised: a tick
    score = result.clients[0].scores["local_only"]
    assert any(f"local-only: {score.correct} of {score.examples} right" in one for one in titles)


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
            rounds=[replace(row, **dict.fromkeys(missing)) for row in wide.rounds],
            confusion=None,
            samples=(),
            egress=(),
            summary={**result.summary, **unscored, "gains": {}, "harmed_clients": []},
        )
        page, _ = page_of(blank, tmp_path)
        assert any("could not be scored" in text for text in page.texts)


@pytest.mark.usefixtures("drawn")
def test_same_result_gives_the_same_page(tmp_path: Path) -> None:
    pages = [page_of(plausible_result(clients=2), tmp_path)[1] for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_note_of_the_run_and_how_heads_were_solved_are_told(tmp_path: Path) -> None:
    plain = plausible_result()
    training = {"accuracy": 0.9, "low": 0.88, "high": 0.92, "sd": 0.01}
    told = {
        "note": "the penalty is 3 < 4",
        "local_only_methods": {"ridge": 1, "lda": 9},
        "centralised_method": "softmax",
        "centralised_training": {"shuffles": 3, "own_data": training, "new_data": training},
    }
    _, markup = page_of(replace(plain, summary={**plain.summary, **told}), tmp_path)
    assert "The penalty is 3 &lt; 4" in markup
    assert "Solved by LDA at 9 clients, ridge at 1 client." in markup
    assert "The same training on pooled data: 90.0% (88.0 to 92.0), mean of 3 shuffles." in markup
    assert "Same training, pooled, mean of 3" in markup
    told["centralised_training"] = {"shuffles": 1, "own_data": training, "new_data": training}
    _, once = page_of(replace(plain, summary={**plain.summary, **told}), tmp_path)
    assert "Same training, pooled<" in once and "shuffle" not in once
    assert '<section id="new-data">' in markup
    _, without = page_of(plausible_result(test_split=False), tmp_path)
    assert '<section id="new-data">' not in without and 'class="note"' not in without


def test_trained_blocks_are_told_at_the_top(tmp_path: Path) -> None:
    plain = plausible_result()
    for keys, told in (
        ({"trainable-blocks": 3, "train-from": ""}, "3 blocks trained"),
        ({"trainable-blocks": 0, "train-from": "a.b"}, "trained from a.b on"),
    ):
        _, markup = page_of(replace(plain, config={**plain.config, **keys}), tmp_path)
        assert f" · {told}<" in markup
        assert "One shared head on trained blocks of the backbone" in markup
        assert "The best head on the frozen backbone, of all examples in one place" in markup
    _, markup = page_of(plain, tmp_path)
    assert "trained" not in markup.partition("<h1")[0]
    assert "One shared head, for cases" in markup


def test_other_seeds_have_a_section(tmp_path: Path) -> None:
    def figures(shift: float) -> dict[str, dict[str, float | None]]:
        return {"local_only": {"accuracy": 0.6 - shift}, "federated": {"accuracy": 0.8 + shift}}

    scores = [SeedScores(seed, figures(shift), {}) for seed, shift in ((0, 0.01), (1, 0.03))]
    plain = plausible_result()
    summary = {**plain.summary, "over_seeds": over_seeds(scores)}
    page, _ = page_of(replace(plain, summary=summary), tmp_path)
    assert any("Over 2 seeds" in text for text in page.texts)
    # t with one degree of freedom is 12.706; the gains are 22 and 26 points.
    (row,) = [text for _, text in page.rows if text.startswith("Federated82.0%")]
    assert "+24.0−1.4 to +49.4" in row
    assert row.startswith("Federated82.0%69.3 to 94.7")
    assert "seeds" not in page_of(plain, tmp_path)[0].ids
