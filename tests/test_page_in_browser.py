"""The page in a real browser: on a telephone, on paper, and its tables sorted by a click."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from plausible_result import plausible_result
from test_comparison_page import page_of as compared

from fedtl.report import page as pages
from fedtl.report.html import write_report
from fedtl.report.result import RunResult

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


def page_of(result: RunResult, folder: Path) -> str:
    write_report(folder / "report.html", result)
    return (folder / "report.html").read_text(encoding="utf-8")


def probed(page: str, folder: Path, script: str) -> str:
    """Run a script in a copy of the page whose policy allows it; return what it found.

    The copy lies in a frame of a telephone's size: a browser's window cannot be so narrow.
    """
    page = re.sub(r"<meta http-equiv[^>]*>", "", page)
    probe = f"<script>parent.postMessage(JSON.stringify({script}), '*')</script></body>"
    (folder / "probed.html").write_text(page.replace("</body>", probe), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><title></title>'
        "<script>onmessage = (found) => { document.title = found.data; }</script>"
        '<iframe src="probed.html" style="width: 390px; height: 844px; border: 0"></iframe>',
        encoding="utf-8",
    )
    shown = browse(frame, folder, "--virtual-time-budget=3000", "--dump-dom")
    (title,) = re.findall(r"<title>(.*?)</title>", shown)
    return html.unescape(str(title))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_telephone_shows_gains_without_scrolling_sideways(shape: str, tmp_path: Path) -> None:
    page = page_of(SHAPES[shape], tmp_path)
    # The widest of the page itself and of what is visible of the first screen and of the gains.
    parts = "header, #clients, #clients .narrow *"
    script = f"""(() => {{
      const ends = [...document.querySelectorAll({parts!r})]
        .map((one) => one.getBoundingClientRect().right);
      const list = document.querySelector("#clients .narrow");
      ends.push(innerWidth + list.scrollWidth - list.clientWidth);
      const wide = document.querySelector("#clients figure.wide").getBoundingClientRect().width;
      const own = document.querySelectorAll(".answer")[1].getBoundingClientRect().bottom;
      return [innerWidth, document.documentElement.scrollWidth, Math.max(...ends), wide, own];
    }})()"""
    inner, scroll, right, wide, bottom = map(float, probed(page, tmp_path, script)[1:-1].split(","))
    assert inner == 390
    assert scroll <= inner and right <= inner
    assert wide == 0, "the wide chart is hidden"
    assert bottom <= 844, "all clients and the smallest are on the first screen"


def test_a_telephone_shows_every_chart_of_a_comparison_whole(tmp_path: Path) -> None:
    script = """(() => {
      const charts = [...document.querySelectorAll("figure.narrow svg")];
      const ends = charts.map((one) => one.getBoundingClientRect().right);
      return [document.documentElement.scrollWidth, Math.max(...ends), charts.length];
    })()"""
    scroll, right, charts = map(float, probed(compared(), tmp_path, script)[1:-1].split(","))
    assert scroll <= 390 and right <= 390
    assert charts == 4, "dots, by round, by bytes and gains"


def test_a_telephone_shows_who_is_better_off_by_which_strategy_whole(tmp_path: Path) -> None:
    script = """(() => {
      const heading = [...document.querySelectorAll("h3")]
        .find((one) => one.textContent === "On clients' own data");
      const table = heading.nextElementSibling;
      const shown = [...table.querySelectorAll("thead th")]
        .filter((one) => one.getBoundingClientRect().width > 0).map((one) => one.textContent);
      return [table.scrollWidth - table.clientWidth, shown.join(" ")];
    })()"""
    beyond, shown = json.loads(probed(compared(), tmp_path, script))
    assert beyond <= 0
    assert shown.startswith("Strategy Global head +/−") and "worst" not in shown


@pytest.mark.parametrize("shape", SHAPES)
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


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
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
    ],
)
def test_a_click_sorts_a_table(cells: list[str], expected: list[str], tmp_path: Path) -> None:
    table = pages.TextTable(
        ["Name", "Value"],
        [[f"row {at}", cell] for at, cell in enumerate([*cells, "5"])],
        styles=[""] * len(cells) + ["total"],
    )
    view = {"heading": "Some", "told": "", "table": table, "after": ""}
    section = pages.Section("Some", "some", "table.html", view)
    page = pages.page_of("base.html", "a table", [section])
    script = """(() => {
      const head = document.querySelectorAll("th")[1];
      const seen = () => [...document.querySelectorAll("td")].map((td) => td.textContent).join("|");
      head.click();
      const down = seen();
      head.click();
      return down + "#" + seen();
    })()"""
    down, up = probed(page, tmp_path, script)[1:-1].split("#")
    assert down.split("|") == [*expected, "5"]
    known = [cell for cell in reversed(expected) if cell != "–"]
    assert up.split("|") == [*known, *["–"] * ("–" in expected), "5"]
