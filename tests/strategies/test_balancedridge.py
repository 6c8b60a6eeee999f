"""The class-balanced ridge against scikit-learn's sample weights on the pooled rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from small_federation import block_of, federated, small_sites

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.heads import LinearHead
from strategies import build

CONFIG = RunConfig(strategy="balancedridge", ridge_penalty=0.3)


def _data() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features of four classes, of which one has half the examples and one a twentieth."""
    rng = np.random.default_rng(0)
    y = rng.choice(4, 400, p=[0.5, 0.3, 0.15, 0.05])
    x = rng.standard_normal((4, 7))[y] + rng.standard_normal((400, 7)) @ rng.standard_normal((7, 7))
    return (x * 10.0 ** rng.uniform(-1, 1, 7) + 3).astype(np.float32), y


def _expected(
    x: NDArray[np.float32], y: NDArray[np.int64], classes: int = 4
) -> NDArray[np.float64]:
    """Return the logits of scikit-learn's fit."""
    weight = compute_sample_weight("balanced", y)
    wide = x.astype(np.float64)
    z = StandardScaler().fit(wide, sample_weight=weight).transform(wide)
    ridge = Ridge(alpha=0.3 * x.shape[1], solver="cholesky")
    return ridge.fit(z, np.eye(classes)[y], sample_weight=weight).predict(z)


def test_it_is_the_weighted_ridge_of_scikit_learn_on_pooled_rows() -> None:
    x, y = _data()
    parts = [np.flatnonzero(y == 0), np.flatnonzero(y == 1), np.flatnonzero(y > 1)]
    with small_sites(x, y, parts) as sites:
        outcome, notes = federated(CONFIG, sites)
    logits = x.astype(np.float64) @ outcome.arrays["weight"].T + outcome.arrays["bias"]
    np.testing.assert_allclose(logits, _expected(x, y), rtol=0, atol=1e-8)
    sent = [entry for entry in notes.entries if entry.client == 1 and "[" in entry.shape]
    assert [(entry.server_round, entry.direction, entry.shape) for entry in sent[:4]] == [
        (0, "up", "class-counts[4]"),
        (1, "down", "weight[4×7] bias[4]"),
        (1, "down", "class-counts[4]"),
        (1, "up", "gram[36] class-sums[8×4]"),
    ]


def test_a_client_alone_is_balanced_by_its_own_counts() -> None:
    x, y = _data()
    own = np.flatnonzero(y > 1)
    (alone,) = build(CONFIG, LinearHead(7, 4)).train_alone(block_of(x, y, [own], 4))
    logits = x[own].astype(np.float64) @ alone.arrays["weight"].T + alone.arrays["bias"]
    np.testing.assert_allclose(logits, _expected(x[own], y[own]), rtol=0, atol=1e-8)


def test_a_class_that_nobody_has_changes_nothing() -> None:
    x, y = _data()
    with small_sites(x, y, [np.arange(100), np.arange(100, 400)], classes=5) as sites:
        outcome, _ = federated(CONFIG, sites)
    logits = x.astype(np.float64) @ outcome.arrays["weight"].T + outcome.arrays["bias"]
    np.testing.assert_allclose(logits, _expected(x, y, 5), rtol=0, atol=1e-8)


def test_a_rare_class_is_found_more_often_than_by_fed3r() -> None:
    x, y = _data()
    recall = {}
    with small_sites(x, y, np.array_split(np.arange(400), 4)) as sites:
        for strategy in ("fed3r", "balancedridge"):
            outcome, _ = federated(CONFIG.replace(strategy=strategy), sites)
            told = [tallies.held_out for tallies in outcome.federated.values()]
            right = sum(tally.correct for tally in told) / sum(tally.examples for tally in told)
            recall[strategy] = right[3]
            prior = {"fed3r": "examples", "balancedridge": "uniform"}[strategy]
            assert outcome.strategy.class_prior == prior
    assert recall["balancedridge"] > recall["fed3r"] + 0.2


def test_it_starts_nothing_else() -> None:
    config = RunConfig(strategy="fedavg", init="balancedridge")
    with pytest.raises(
        UsageError, match=r"init = 'balancedridge' is a closed form that asks clients twice"
    ):
        build(config, LinearHead(3, 2))
