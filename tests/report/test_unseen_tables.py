"""What is said of the unseen site: verdicts, and a table that fits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from fedtl.report.unseen_tables import unseen_table
from fedtl.results.unseen import UnseenScore, UnseenSite


def _site(federated: float, *alone: float, **changes: Any) -> UnseenSite:
    values: dict[str, Any] = {
        "name": "hospital-5",
        "examples": 999,
        "federated": UnseenScore(federated, federated - 0.01),
        "centralised": UnseenScore(0.72, 0.71),
        "alone": {client: UnseenScore(score, score) for client, score in enumerate(alone)},
        "client_names": [f"hospital-{client + 1}" for client in range(len(alone))],
        "unlearnt": (),
    }
    return UnseenSite(**values | changes)


@pytest.mark.parametrize(
    ("site", "verdict"),
    [
        (_site(0.7, 0.5, 0.6), "better than every local-only head (the best is hospital-2's"),
        (
            _site(0.6, 0.5, 0.6),
            "better than the local-only heads of 1 of 2 clients, but not than hosp",
        ),
        (_site(0.5, 0.5, 0.6), "no better than any local-only head (the best is hospital-2's"),
    ],
)
def test_the_verdict_is_plain(site: UnseenSite, verdict: str) -> None:
    assert verdict in site.verdict()
    assert site.verdict().startswith("On hospital-5, which took no part, the federated head scores")
    assert len(site.unbeaten) == len(site.alone) - site.beaten("accuracy")


def test_balanced_accuracy_has_its_own_count() -> None:
    site = _site(0.6, 0.55, 0.595, 0.7)
    assert "scores 59.0% against 70.0%" in site.balanced_verdict()
    assert "better than 1 of 3" in site.balanced_verdict()
    told = site.to_mapping()
    assert (told["own_heads_beaten"], told["own_heads_beaten_balanced"]) == (2, 1)


@pytest.mark.parametrize("clients", [1, 10, 11, 300])
def test_the_table_fits_80_columns_and_says_what_it_leaves_out(clients: int) -> None:
    alone = [0.3 + 0.4 * client / clients for client in range(clients)]
    names = [f"the hospital of the town of number {client}" for client in range(clients)]
    table = unseen_table(_site(0.6, *alone, client_names=names, name="x" * 90))
    text = io.StringIO()
    Console(file=text, width=80).print(table)
    lines = text.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert sum("local-only  " in line for line in lines) == min(clients, 10)
    assert any(f"{clients - 10} lower local-only head" in line for line in lines) == (clients > 10)
    assert any("▲" in line for line in lines) == (max(alone) >= 0.6)
