"""Tables in the terminal: they fit, and names are text."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from parsed_page import page_of
from plausible_result import plausible_result
from rich.console import Console
from rich.table import Table

from fedtl.report.tables import client_table, time_parts, totals_table


def printed(table: Table, width: int = 80) -> list[str]:
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
    lines = printed(client_table(result))
    assert max(map(len, lines)) <= 80
    own = ["Corrected", "Personal"] if personal else ["Federated", "Corrected"]
    for heading in ("Client", "Train", "Local-only", *own, "Gain"):
        assert heading in lines[0]
    body = [line for line in lines if "1,234,567" in line]
    assert len(body) == (clients if clients <= 20 else 16)
    for line in body:
        share, gain = r" +(?:\d+ of \d+|[\d.]+%)", r" +\S?\d+\.\d(?: [▲▼])?"
        assert re.search(rf"1,234,567{share}{share}{gain}{share}{gain}", line)
        assert line.count("…") == 1  # the name, nothing else
        assert re.search(r"d \d+  1,234,567", line)

    totals = printed(totals_table(result))
    figures = r"64.0% +87.4% +89.3% +85.1% +88.2%" if personal else r"64.0% +87.4% +89.3% +88.2%"
    assert max(map(len, totals)) <= 80
    assert not any("…" in line for line in totals)
    assert any(re.search(f"accuracy +{figures}", line) for line in totals)
    assert any(re.search(r"on new data +51.2% +86.1%", line) for line in totals)


def test_client_table_keeps_the_worst_and_the_best() -> None:
    result = plausible_result(clients=200)
    lines = printed(client_table(result))
    gains = sorted((row.gain("federated") or 0.0, row.client) for row in result.clients)
    expected = [result.client_names[client] for _, client in gains[:8] + gains[-8:]]
    assert [line.split()[0] for line in lines if line.startswith("hospital")] == expected
    assert any("184 clients left out" in line for line in lines)


def test_the_harmed_alone_are_in_colour() -> None:
    result = plausible_result(clients=20)
    harmed = [row.verdict("federated") == "worse" for row in result.clients]
    assert 0 < sum(harmed) < 20
    assert [row.style == "yellow" for row in client_table(result).rows] == harmed


def test_totals_without_a_centralised_head() -> None:
    lines = printed(totals_table(plausible_result(with_centralised=False)))
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
    lines = printed(client_table(plausible_result(clients=5, client_names=names)))
    assert any("[red]site[/red]" in line for line in lines)
    assert not any("\x1b" in line or "\t" in line for line in lines)


def test_what_a_strategy_says_of_the_run_is_told_on_the_page_and_in_the_terminal(
    tmp_path: Path,
) -> None:
    plain = plausible_result()
    told = replace(plain, summary={**plain.summary, "note": "The sums chose a penalty of 3."})
    assert "The sums chose a penalty of 3." in html.unescape(page_of(told, tmp_path)[1])
    assert "The sums chose a penalty of 3." in " ".join(printed(totals_table(told)))
