"""Verdicts of whole runs whose features tell nothing of the classes: nobody gains, nobody loses."""

from __future__ import annotations

import numpy as np
from small_federation import federated, small_sites

from fedtl.config import RunConfig
from fedtl.results.summary import client_rows
from fedtl.statistics.verdicts import verdicts

CHOSEN = True

CLIENTS, ROWS, FEATURES, SEEDS = 5, 120, 40, 6


def test_noise_makes_nobody_better_or_worse() -> None:
    """One class is commoner: a head of few rows errs more often than one that always names it.

    The exact tests alone see that. Nobody's patients are served by either.
    """
    seen = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        total = CLIENTS * ROWS
        x = rng.normal(size=(total, FEATURES)).astype(np.float32)
        y = (rng.uniform(size=total) < 0.3).astype(np.int64)
        parts = np.split(np.arange(total), CLIENTS)
        none = [np.empty(0, np.int64)] * CLIENTS
        config = RunConfig(strategy="fed3r", own_data_rows="all", clients=CLIENTS)
        with small_sites(x, y, parts, held_out=none) as sites:
            outcome, _ = federated(config, sites)
        names = [f"client-{client}" for client in range(CLIENTS)]
        rows = client_rows(outcome, None, names, hostile=())
        assert len(rows) == CLIENTS
        for way in ("federated", "corrected"):
            pairs = outcome.pairs[way]
            tested = verdicts(pairs)
            seen += sum(verdict != "no clear difference" for verdict in tested.values())
            assert {row.verdict(way) for row in rows} == {"no clear difference"}
    assert seen > 0
