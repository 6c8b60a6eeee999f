"""Verdicts on a reading that is fitted to the rows that it is judged by: false alarms are rare."""

from __future__ import annotations

import numpy as np
import torch
from small_federation import block_of, small_sites

from fedtl.client.own_mix import own_mix
from fedtl.config import RunConfig
from fedtl.statistics.intervals import Pairs
from fedtl.statistics.verdicts import verdicts
from fedtl.transfer.heads import head_of
from strategies import build

CHOSEN = True

FAMILIES, CLIENTS, ROWS = 100, 10, 50
ODDS, NOISE = 2.0, 0.7


def test_corrected_heads_that_are_as_good_as_alone_are_seldom_called_otherwise() -> None:
    """Two unit Gaussians at -1 and 1, of which each client has a mix of its own.

    Alone a client says Bayes' log-odds with its own mix, and the shared head those with everyone's,
    each with its own noise of the same law. Once corrected, the two are equally good.
    """
    config = RunConfig(strategy="fedavg", clients=CLIENTS)
    strategy = build(config, head_of(config, features=1, classes=2))
    weight = torch.tensor([-ODDS / 2, ODDS / 2]).view(1, 2, 1).expand(CLIENTS, 2, 1)
    head = {"weight": weight, "bias": torch.zeros(CLIENTS, 2)}
    rng = np.random.default_rng(3)
    parts = np.arange(CLIENTS * ROWS * 2).reshape(CLIENTS, 2, ROWS)
    alarms = {"better": 0, "worse": 0}
    for _ in range(FAMILIES):
        share = rng.uniform(0.15, 0.85, CLIENTS)
        y = (rng.uniform(size=(CLIENTS, 2 * ROWS)) < share[:, None]).astype(np.int64)
        x = rng.normal(size=y.shape) + 2 * y - 1
        own_odds = np.log(share / (1 - share))[:, None] + ODDS * x
        alone = own_odds + ODDS * NOISE * rng.normal(size=x.shape) > 0
        seen = (x + NOISE * rng.normal(size=x.shape)).reshape(-1, 1).astype(np.float32)
        labels = y.reshape(-1)
        train, held_out = list(parts[:, 0]), list(parts[:, 1])
        with small_sites(seen, labels, train, held_out=held_out) as sites:
            clients = [sites.site(client).data for client in range(CLIENTS)]
            block = block_of(seen, labels, train, 2)
            everyone = np.array([500, 500])
            mix = own_mix(strategy, block, head, clients, everyone, None, keep_logits=False)
        right = (alone == y)[:, ROWS:]
        found = verdicts(
            {c: Pairs.of(right[c], mix.held_out[c].right, None) for c in range(CLIENTS)}
        )
        for verdict in alarms:
            alarms[verdict] += verdict in found.values()
    # Three standard deviations above .05 of 100.
    assert max(alarms.values()) / FAMILIES <= 0.05 + 3 * (0.05 * 0.95 / FAMILIES) ** 0.5
