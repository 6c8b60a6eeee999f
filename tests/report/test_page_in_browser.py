"""The page in a real browser: on a telephone, on paper, and its tables sorted by a click."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from comparison_pages import page_of as compared
from plausible_result import plausible_result

from fedtl.report import page as pages
from fedtl.report.html import write_report
from fedtl.results.detail import RunDetail

DRAWN = True

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, _BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(_BROWSERS)} is here")

LONG = [f"St. {'Very' * 6} Long Name Hospital, ward {index}" for index in range(10)]
SHAPES = {
    "ten clients": plausible_result(),
    "long names": plausible_result(client_names=LONG, with_personal=True),
    "many clients": plausible_result(clients=200, with_failures=True),
    "one round": plausible_result(rounds=1),
}


def browse(path: Path, folder: Path, *flags: str) -> str:
    """Open a page without a window; return the document as it is once its scripts have run."""
    assert BROWSER is not None
    given = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [BROWSER, *given, "--hide-scrollbars", *flags, path.as_uri()],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode("utf-8")


def page_of(result: RunDetail, folder: Path) -> str:
    write_report(folder / "report.html", result)
    return (folder / "report.html").read_text(encoding="utf-8")


# The widest of the page itself and of what is visible of the first screen and of the gains.
WIDTHS = """(() => {
  const ends = [...document.querySelectorAll("header, #clients, #clients .narrow *")]
    .map((one) => one.getBoundingClientRect().right);
  const list = document.querySelector("#clients .narrow");
  ends.push(innerWidth + list.scrollWidth - list.clientWidth);
  const wide = document.querySelector("#clients figure.wide").getBoundingClientRect().width;
  const own = document.querySelectorAll(".answer")[1].getBoundingClientRect().bottom;
  return [innerWidth, document.documentElement.scrollWidth, Math.max(...ends), wide, own];
})()"""
CHARTS = """(() => {
  const charts = [...document.querySelectorAll("figure.narrow svg")];
  const ends = charts.map((one) => one.getBoundingClientRect().right);
  return [document.documentElement.scrollWidth, Math.max(...ends), charts.length];
})()"""
BETTER_OFF = """(() => {
  const heading = [...document.querySelectorAll("h3")]
    .find((one) => one.textContent === "On clients' own data");
  const table = heading.nextElementSibling;
  const shown = [...table.querySelectorAll("thead th")]
    .filter((one) => one.getBoundingClientRect().width > 0).map((one) => one.textContent);
  return [table.scrollWidth - table.clientWidth, shown.join(" ")];
})()"""
SORTED = """[...document.querySelectorAll("table")].map((table) => {
  const head = table.querySelectorAll("th")[1];
  const seen = () => [...table.querySelectorAll("td")].map((td) => td.textContent);
  head.click();
  const down = seen();
  head.click();
  return [down, seen()];
})"""
TABLES = [
    (
        ["44 of 46", "93.2%", "9 of 10", "100.0%", "–"],
        ["100.0%", "44 of 46", "93.2%", "9 of 10", "–"],
    ),
    (
        ["−1.0", "+8.4", "0.0", "–", "+10.2", "−12.5"],
        ["+10.2", "+8.4", "0.0", "−1.0", "−12.5", "–"],
    ),
    (["1,234", "999", "12,000"], ["12,000", "1,234", "999"]),
    (["1.2 kB", "3.4 MB", "950 B"], ["3.4 MB", "1.2 kB", "950 B"]),
    (["client-2", "client-10", "client-1"], ["client-10", "client-2", "client-1"]),
]


def _tables() -> str:
    """Return a page of tables that a click should sort, each with a total below."""
    sections = []
    for at, (cells, _) in enumerate(TABLES):
        table = pages.TextTable(
            ["Name", "Value"],
            [[f"row {row}", cell] for row, cell in enumerate([*cells, "5"])],
            styles=[""] * len(cells) + ["total"],
        )
        view = {"heading": "Some", "told": "", "table": table, "after": ""}
        sections.append(pages.Section("Some", f"some-{at}", "table.html", view))
    return pages.page_of("base.html", "tables", sections)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what scripts find in copies of pages, whose policy allows them.

    The copies lie in frames of a telephone's size, as a browser's window cannot be so narrow; and
    side by side, as a browser takes its time to start.
    """
    folder = tmp_path_factory.mktemp("probed")
    comparison = compared()
    asked = {shape: (page_of(result, folder), WIDTHS) for shape, result in SHAPES.items()}
    asked |= {"charts": (comparison, CHARTS), "better off": (comparison, BETTER_OFF)}
    asked["tables"] = _tables(), SORTED
    frames = ""
    for at, (name, (page, script)) in enumerate(asked.items()):
        page = re.sub(r"<meta http-equiv[^>]*>", "", page)
        probe = f"<script>parent.postMessage([{name!r}, {script}], '*')</script></body>"
        (folder / f"{at}.html").write_text(page.replace("</body>", probe), encoding="utf-8")
        style = "width: 390px; height: 844px; border: 0"
        frames += f'<iframe src="{at}.html" style="{style}"></iframe>'
    frame = folder / "frame.html"
    frame.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><title></title><script>const found = {}; onmessage ='
        " ({data}) => { found[data[0]] = data[1]; document.title = JSON.stringify(found); }"
        f"</script>{frames}",
        encoding="utf-8",
    )
    shown = browse(frame, folder, "--virtual-time-budget=3000", "--dump-dom")
    (title,) = re.findall(r"<title>(.*?)</title>", shown)
    found: dict[str, Any] = json.loads(html.unescape(str(title)))
    assert found.keys() == asked.keys()
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_telephone_shows_gains_without_scrolling_sideways(
    shape: str, probed: dict[str, Any]
) -> None:
    inner, scroll, right, wide, bottom = probed[shape]
    assert inner == 390
    assert scroll <= inner and right <= inner
    assert wide == 0, "the wide chart is hidden"
    assert bottom <= 844, "all clients and the smallest are on the first screen"


def test_a_telephone_shows_every_chart_of_a_comparison_whole(probed: dict[str, Any]) -> None:
    scroll, right, charts = probed["charts"]
    assert scroll <= 390 and right <= 390
    assert charts == 4, "dots, by round, by bytes and gains"


def test_a_telephone_shows_who_is_better_off_by_which_strategy_whole(
    probed: dict[str, Any],
) -> None:
    beyond, shown = probed["better off"]
    assert beyond <= 0
    assert shown.startswith("Strategy Global head +/−") and "worst" not in shown


@pytest.mark.parametrize("at", range(len(TABLES)))
def test_a_click_sorts_a_table(at: int, probed: dict[str, Any]) -> None:
    expected = TABLES[at][1]
    down, up = probed["tables"][at]
    assert down == [*expected, "5"]
    known = [cell for cell in reversed(expected) if cell != "–"]
    assert up == [*known, *["–"] * ("–" in expected), "5"]


@pytest.mark.parametrize("shape", ["long names", "many clients"])
def test_the_answer_prints_on_two_pages(shape: str, tmp_path: Path) -> None:
    page = page_of(SHAPES[shape], tmp_path)
    rest = "<style>section:not(#clients), footer { display: none !important }</style></head>"
    path = tmp_path / "answer.html"
    path.write_text(page.replace("</head>", rest), encoding="utf-8")
    browse(path, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'answer.pdf'}")
    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "answer.pdf").read_bytes())
    assert 1 <= len(pages) <= 2


def test_the_policy_lets_the_one_script_run(tmp_path: Path) -> None:
    page_of(plausible_result(), tmp_path)
    shown = browse(tmp_path / "report.html", tmp_path, "--dump-dom")
    assert 'tabindex="0"' in shown
