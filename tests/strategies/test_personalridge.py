"""Personal ridge against scikit-learn's Ridge, refitted without each row or group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from small_federation import block_of, federated, small_sites

from fedtl.config import RunConfig
from fedtl.federation.outcome import Outcome
from fedtl.transfer.heads import LinearHead
from strategies import build
from strategies.base import Received
from strategies.personalridge import correction

Floats = NDArray[np.float64]
PENALTIES = [10.0 ** (place / 2 - 4) for place in range(13)]
CONFIG = RunConfig(strategy="personalridge")


def _client(
    rows: int, width: int, signal: float, seed: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return features of unlike scales, one constant, residuals, and groups of one to nine rows."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, width)) * 10.0 ** rng.uniform(-1, 1, width) + 2
    z[:, 1] = 0.3
    truth = rng.standard_normal((width, 3)) / z.std(0).clip(0.1)[:, None]
    residual = signal * (z - z.mean(0)) @ truth + rng.standard_normal((rows, 3))
    return z, residual, np.sort(rng.integers(rows // 4 + 2, size=rows))


def _refitted(z: Floats, residual: Floats, groups: NDArray[np.int64]) -> tuple[float, Floats]:
    """Return the best penalty by leaving out each group in turn, 0 for none, and its fit."""
    varies = np.ptp(z, axis=0) > 0
    scaled = (z - z.mean(0)) / np.where(varies, z.std(0), 1) * varies
    # One fit, by one decomposition, for all penalties: each has its own copy of the targets.
    copies = np.tile(residual, len(PENALTIES))
    alphas = np.repeat(PENALTIES, residual.shape[1]) * varies.sum()
    squares = np.zeros(copies.shape[1])
    for group in np.unique(groups):
        out = groups == group
        fit = Ridge(alpha=alphas, solver="svd").fit(scaled[~out], copies[~out])
        squares += np.square(copies[out] - fit.predict(scaled[out])).sum(axis=0)
    by_penalty = squares.reshape(len(PENALTIES), -1).sum(axis=1)
    errors = {0.0: float(np.square(residual).sum())}
    errors |= dict(zip(PENALTIES, by_penalty.tolist(), strict=True))
    best = min(errors, key=lambda penalty: errors[penalty])
    if not best:
        return best, np.zeros_like(residual)
    fit = Ridge(alpha=best * varies.sum(), solver="cholesky").fit(scaled, residual)
    return best, fit.predict(scaled)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "signal"),
    [(40, 5, 0.0), (40, 5, 0.1), (40, 5, 3.0), (12, 30, 0.3), (60, 20, 0.05), (2, 4, 1.0)],
)
def test_penalty_and_head_are_those_of_refitting_without_each(
    rows: int, width: int, signal: float, grouped: bool
) -> None:
    found = set()
    for seed in range(4):
        z, residual, groups = _client(rows, width, signal, seed)
        if not grouped:
            groups = np.arange(rows)
        change = correction(
            torch.from_numpy(z), torch.from_numpy(residual), groups if grouped else None
        )
        added = z @ change["weight"].numpy().T + change["bias"].numpy()
        if len(np.unique(groups)) < 2:
            assert not added.any()
            continue
        penalty, expected = _refitted(z, residual, groups)
        np.testing.assert_allclose(added, expected, rtol=1e-8, atol=1e-8)
        found.add(penalty)
    if signal == 3.0:
        assert max(found) <= 0.1 + 1e-9
    if signal == 0.0:
        assert 0.0 in found or max(found) >= 1


def _run(
    x: NDArray[np.float32], y: NDArray[np.int64], parts: list[NDArray[np.int64]], strategy: str
) -> Outcome:
    with small_sites(x, y, parts) as sites:
        return federated(CONFIG.replace(strategy=strategy), sites)[0]


def test_the_global_head_is_fed3rs_and_nothing_more_leaves() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    x = (rng.standard_normal((3, 6))[y] + rng.standard_normal((90, 6))).astype(np.float32)
    parts = [np.arange(1), np.arange(1, 40), np.arange(40, 90)]
    own, shared = _run(x, y, parts, "personalridge"), _run(x, y, parts, "fed3r")
    for name, value in shared.arrays.items():
        assert own.arrays[name].tobytes() == value.tobytes()
    assert own.strategy.uplink == shared.strategy.uplink
    assert own.personal is not None
    # One row cannot be left out of itself: that client uses the shared head.
    assert own.personal[0].held_out.loss == own.federated[0].held_out.loss


def test_a_client_whose_labels_mean_something_else_gets_a_head_that_says_so() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    x = (np.eye(2)[y] @ rng.standard_normal((2, 5)) * 3 + rng.standard_normal((400, 5))).astype(
        np.float32
    )
    y[350:] = 1 - y[350:]
    outcome = _run(
        x, y, [np.arange(200), np.arange(200, 350), np.arange(350, 400)], "personalridge"
    )
    assert outcome.personal is not None
    assert outcome.federated[2].held_out.accuracy < 0.3
    assert outcome.personal[2].held_out.accuracy > 0.9
    for client in (0, 1):
        assert outcome.personal[client].held_out.accuracy > 0.9


def test_what_belongs_together_is_left_out_together() -> None:
    """Rows come in identical pairs; left out one by one, each would be seen in its twin."""
    rng = np.random.default_rng(2)
    x = np.repeat(rng.standard_normal((30, 40)), 2, axis=0).astype(np.float32)
    y = np.repeat(rng.integers(2, size=30), 2)
    heads = []
    for groups in (None, np.repeat(np.arange(30), 2)):
        block = replace(block_of(x, y, [np.arange(60)], 2), groups=groups)
        nothing = {"weight": torch.zeros(1, 2, 40), "bias": torch.full((1, 2), 0.5)}
        strategy = build(CONFIG, LinearHead(40, 2))
        (head,) = strategy.personal_heads(block, Received(nothing), [])
        heads.append(head.arrays["weight"])
    assert np.linalg.norm(heads[1]) < 0.5 * np.linalg.norm(heads[0])


def test_groups_reach_the_client() -> None:
    rng = np.random.default_rng(2)
    x = np.repeat(rng.standard_normal((40, 30)), 2, axis=0).astype(np.float32)
    y = np.repeat(rng.integers(2, size=40), 2)
    losses = []
    for groups in (None, np.repeat(np.arange(40), 2)):
        with small_sites(x, y, [np.arange(40), np.arange(40, 80)], groups=groups) as sites:
            outcome, _ = federated(CONFIG, sites)
        assert outcome.personal is not None
        losses.append(outcome.personal[0].held_out.loss)
    # On its own training rows, the head that was chosen by twins fits better.
    assert losses[0] < losses[1]
