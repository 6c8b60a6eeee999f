"""A ridge penalty from the sums, against leverages by numpy and scikit-learn's RidgeCV."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from in_process import finished
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from small_federation import block_of, federated, small_sites

from fedtl.config import RunConfig
from fedtl.simulate import main as simulate
from fedtl.transfer.heads import LinearHead
from strategies import build
from strategies.base.gcv import PENALTIES

Floats = NDArray[np.float64]
WIDTH = 10


def _data(
    rows: int, noise: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
    """Return features, one of them constant, labels, and standardised features."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=rows)
    mixing = rng.standard_normal((WIDTH, WIDTH))
    x = (rng.standard_normal((3, WIDTH))[y] + noise * rng.standard_normal((rows, WIDTH))) @ mixing
    x[:, 4] = 7.0
    x = (x * 10.0 ** rng.uniform(-1, 1, WIDTH)).astype(np.float32)
    z = x.astype(np.float64)
    deviation = np.where(np.ptp(z, axis=0) > 0, z.std(0), 1.0)
    return x, y, (z - z.mean(0)) / deviation


def _by_leverages(z: Floats, y: NDArray[np.int64]) -> float:
    """Return the penalty per feature by the definition: each fit's hat matrix and residuals."""
    onehot = np.eye(3)[y]
    ones = np.ones((len(z), 1))
    scores = []
    for penalty in PENALTIES.numpy():
        joined = np.hstack([z, ones])
        ridge = np.diag(np.r_[np.full(z.shape[1], penalty * (WIDTH - 1)), 0.0])
        hat = joined @ np.linalg.solve(joined.T @ joined + ridge, joined.T)
        residual = onehot - hat @ onehot
        scores.append(np.square(residual).sum() / (len(z) - np.trace(hat)) ** 2)
    return float(PENALTIES[int(np.argmin(scores))])


def _solved(
    x: NDArray[np.float32], y: NDArray[np.int64], **changes: str
) -> tuple[Floats, Floats, str]:
    """Return weight and bias on features as they are, and what is told, of clients by class."""
    config = RunConfig(**{"strategy": "fed3r", "ridge_penalty_from": "gcv", **changes})  # type: ignore[arg-type]
    parts = [np.flatnonzero(y == label) for label in range(3)]
    with small_sites(x, y, parts, held_out=[part[:1] for part in parts]) as sites:
        outcome, notes = federated(config, sites)
        resumed, _ = federated(config, sites, resume=notes.checkpoints[-1])
    assert resumed.strategy.note == outcome.strategy.note
    return outcome.arrays["weight"], outcome.arrays["bias"], outcome.strategy.note


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("rows", "noise"), [(14, 1.0), (40, 0.3), (300, 1.0), (300, 6.0)])
def test_it_is_the_choice_of_the_definition(rows: int, noise: float, seed: int) -> None:
    x, y, z = _data(rows, noise, seed)
    weight, bias, note = _solved(x, y)
    penalty = _by_leverages(z, y)
    assert note == f"Generalised cross-validation chose ridge-penalty = {penalty:.3g}."
    ridge = Ridge(alpha=penalty * (WIDTH - 1), solver="cholesky").fit(z, np.eye(3)[y])
    logits = x.astype(np.float64) @ weight.T + bias
    np.testing.assert_allclose(logits, ridge.predict(z), rtol=0, atol=1e-8)


def test_choice_and_head_are_those_of_scikit_learns_ridge_cv() -> None:
    """It leaves rows out exactly, so that the choices differ by a neighbour now and then."""
    away = []
    for seed in range(12):
        x, y, z = _data(400, 3.0, seed)
        weight, bias, note = _solved(x, y)
        model = RidgeCV(alphas=PENALTIES.numpy() * (WIDTH - 1)).fit(z, np.eye(3)[y])
        theirs = int(np.argmin(np.abs(PENALTIES.numpy() - model.alpha_ / (WIDTH - 1))))
        told = float(note.rstrip(".").rpartition(" ")[2])
        ours = int(np.argmin(np.abs(PENALTIES.numpy() / told - 1)))
        away.append(abs(ours - theirs))
        if ours == theirs:
            logits = x.astype(np.float64) @ weight.T + bias
            np.testing.assert_allclose(logits, model.predict(z), rtol=0, atol=1e-8)
    assert max(away) <= 1
    assert away.count(0) >= 9


@pytest.mark.parametrize("strategy", ["afl", "fedcgs"])
def test_kin_choose_as_fed3r(strategy: str) -> None:
    x, y, _ = _data(300, 6.0, 0)
    assert _solved(x, y, strategy=strategy)[2] == _solved(x, y)[2]


def test_by_default_nothing_is_chosen() -> None:
    x, y, z = _data(300, 6.0, 0)
    weight, _, note = _solved(x, y, ridge_penalty_from="fixed")
    assert note == ""
    ridge = Ridge(alpha=0.5 * (WIDTH - 1), solver="cholesky").fit(z, np.eye(3)[y])
    varies = np.delete(np.arange(WIDTH), 4)
    scale = x.astype(np.float64).std(0)[varies]
    np.testing.assert_allclose(weight[:, varies] * scale, ridge.coef_[:, varies], atol=1e-8)


def test_a_client_alone_chooses_from_its_own_rows() -> None:
    x, y, z = _data(60, 1.0, 1)
    config = RunConfig(strategy="fed3r", ridge_penalty_from="gcv")
    (alone,) = build(config, LinearHead(WIDTH, 3)).train_alone(block_of(x, y, [np.arange(60)], 3))
    ridge = Ridge(alpha=_by_leverages(z, y) * (WIDTH - 1)).fit(z, np.eye(3)[y])
    logits = x.astype(np.float64) @ alone.arrays["weight"].T + alone.arrays["bias"]
    np.testing.assert_allclose(logits, ridge.predict(z), rtol=0, atol=1e-8)


def test_a_run_tells_what_was_chosen(tmp_path: Path) -> None:
    x, y, z = _data(120, 1.0, 0)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    flags = ("--data", f"features:{tmp_path / 'data.npz'}", "--clients", 3, "--held-out", 0)
    out = tmp_path / "run"
    end = finished(
        simulate,
        *flags,
        "--strategy",
        "fed3r",
        "--ridge-penalty-from",
        "gcv",
        "--engine",
        "inline",
        "--out",
        out,
    )
    assert end.exit_code == 0, end.stderr
    told = f"Generalised cross-validation chose ridge-penalty = {_by_leverages(z, y):.3g}."
    assert json.loads((out / "summary.json").read_text())["note"] == told
    assert told in " ".join(end.stdout.split())
