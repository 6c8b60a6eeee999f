"""Fedsoftmax against scikit-learn's logistic regression on the pooled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from small_federation import block_of, federated, small_sites

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.federation.outcome import Outcome
from fedtl.transfer.heads import LinearHead, MLPHead
from strategies import build
from strategies.fedsoftmax import FedSoftmax, evaluated

Floats = NDArray[np.float64]

WIDTH = 12


def _data(
    rows: int = 400, classes: int = 4, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return correlated features of unlike means and scales, one of them constant."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=rows)
    mixing = rng.standard_normal((WIDTH, WIDTH))
    x = (rng.standard_normal((classes, WIDTH))[y] + rng.standard_normal((rows, WIDTH))) @ mixing
    x = x * 10.0 ** rng.uniform(-1, 1, WIDTH) + rng.uniform(-5, 5, WIDTH)
    x[:, 5] = 0.1
    return x.astype(np.float32), y


def _by_class(y: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return clients that share no class, but for one that has two."""
    return [np.flatnonzero(y == 0), np.flatnonzero(y == 1), np.flatnonzero(y > 1)]


def _config(**changes: str | int | float) -> RunConfig:
    return RunConfig(strategy="fedsoftmax").replace(
        **{"rounds": 60, "softmax_penalty": 0.5, **changes}
    )


def _standardised(x: NDArray[np.float32]) -> Floats:
    wide = x.astype(np.float64)
    varies = np.ptp(wide, axis=0) > 0
    return np.where(varies, (wide - wide.mean(0)) / np.where(varies, wide.std(0), 1), 0.0)


def _sklearn(x: NDArray[np.float32], y: NDArray[np.int64], penalty: float) -> LogisticRegression:
    """Return the fit of the pooled rows; for two classes, with w₁ - w₀ for w."""
    halves = 2 if len(np.unique(y)) == 2 else 1
    model = LogisticRegression(
        C=halves / (penalty * (WIDTH - 1)), solver="newton-cg", tol=1e-12, max_iter=10_000
    )
    return model.fit(_standardised(x), y)


def _distance(outcome: Outcome, model: LogisticRegression) -> float:
    """Return how far the head is from scikit-learn's, relative to that one's length."""
    weight, bias = outcome.arrays["weight"], outcome.arrays["bias"]
    seen = weight[model.classes_].astype(np.float64)
    biases = bias[model.classes_].astype(np.float64)
    if len(seen) == 2:
        seen, biases = seen[1:] - seen[:1], biases[1:] - biases[:1]
    found = np.hstack([seen - seen.mean(0) * (len(seen) > 1), biases[:, None]])
    expected = np.hstack([model.coef_, model.intercept_[:, None]])
    if len(seen) > 1:
        found[:, -1] -= found[:, -1].mean()
        expected[:, -1] -= expected[:, -1].mean()
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("classes", "penalty", "rounds"), [(4, 5.0, 20), (4, 0.5, 35), (2, 5.0, 20)]
)
def test_it_is_the_head_of_scikit_learn_on_pooled_rows(
    classes: int, penalty: float, rounds: int
) -> None:
    x, y = _data(classes=classes)
    with small_sites(x, y, _by_class(y) if classes > 2 else _by_class(y)[:2]) as sites:
        outcome, notes = federated(_config(softmax_penalty=penalty), sites)
    assert _distance(outcome, _sklearn(x, y, penalty)) < 1e-6
    assert outcome.rounds <= rounds
    assert outcome.rounds == len(notes.rows)
    assert outcome.strategy.note == ""


def test_a_run_cut_short_has_its_best_head_and_says_how_far_it_is() -> None:
    x, y = _data()
    losses = []
    with small_sites(x, y, _by_class(y)) as sites:
        for rounds in range(1, 12):
            outcome, notes = federated(_config(rounds=rounds, softmax_penalty=0.05), sites)
            assert outcome.rounds == rounds
            assert f"after {rounds} round" in outcome.strategy.note
            weight, bias = (value.astype(np.float64) for value in outcome.arrays.values())
            logits = _standardised(x) @ weight.T + bias
            penalty = 0.05 * (WIDTH - 1) / 2 * np.square(weight).sum()
            loss = (logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]).sum()
            losses.append(loss + penalty)
            assert notes.rows[-1].train_loss is not None
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < len(y) * np.log(4)


def test_loss_and_gradient_are_those_of_the_definition() -> None:
    x, y = _data(rows=50)
    rng = np.random.default_rng(3)
    weight, bias = rng.standard_normal((4, WIDTH)), rng.standard_normal(4)
    block = block_of(_standardised(x).astype(np.float32), y, [np.arange(10), np.arange(10, 50)], 4)
    z = block.features.double().numpy()[10:]

    def loss(flat: Floats) -> float:
        both = flat.reshape(4, WIDTH + 1)
        logits = z @ both[:, :-1].T + both[:, -1]
        return float((logsumexp(logits, axis=1) - logits[np.arange(40), y[10:]]).sum())

    sums = evaluated(block, 1, torch.from_numpy(weight), torch.from_numpy(bias))
    flat = np.hstack([weight, bias[:, None]]).ravel()
    np.testing.assert_allclose(sums["loss"], loss(flat), rtol=1e-12)
    slope = approx_fprime(flat, loss, 1e-6).reshape(4, -1)
    np.testing.assert_allclose(sums["gradient"], slope, rtol=1e-3, atol=1e-3)


def test_a_class_that_nobody_has_is_as_if_it_were_not() -> None:
    x, y = _data()
    y = np.array([0, 2, 3, 4])[y]
    with small_sites(x, y, [np.flatnonzero(y < 3), np.flatnonzero(y >= 3)], classes=6) as sites:
        outcome, _ = federated(_config(), sites)
    assert _distance(outcome, _sklearn(x, y, 0.5)) < 1e-6
    assert (outcome.arrays["weight"][[1, 5]] == 0).all()
    logits = _standardised(x) @ outcome.arrays["weight"].T + outcome.arrays["bias"]
    assert logits[:, [1, 5]].max() < logits[:, [0, 2, 3, 4]].max(1).min() - 15


def test_a_client_alone_gets_the_head_of_its_own_rows() -> None:
    x, y = _data()
    parts = _by_class(y)
    lone = build(_config(), LinearHead(WIDTH, 4)).train_alone(block_of(x, y, parts, 4))
    assert (lone[0].arrays["weight"] == 0).all()
    assert lone[1].arrays["bias"].argmax() == 1
    model = _sklearn(x[parts[2]], y[parts[2]], 0.5)
    weight, bias = lone[2].arrays["weight"], lone[2].arrays["bias"]
    np.testing.assert_allclose(weight[3] - weight[2], model.coef_[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias[3] - bias[2], model.intercept_[0], rtol=1e-5, atol=1e-6)


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_round_that_lacks_clients_is_completed_by_the_next() -> None:
    """Whoever answered before need not answer again: in rounds 3 and 4 not all do at once."""
    x, y = _data()
    gone = {(3, 1), (4, 0), (4, 2), (7, 0), (8, 0)}
    with small_sites(x, y, _by_class(y)) as sites:
        whole, _ = federated(_config(), sites)
        outcome, told = federated(_config(), sites, missing=lambda at, who: (at, who) in gone)
        for at in (2, 3, 6):
            resumed, _ = federated(
                _config(),
                sites,
                missing=lambda at, who: (at, who) in gone,
                resume=told.checkpoints[at],
            )
            for name, value in outcome.arrays.items():
                assert resumed.arrays[name].tobytes() == value.tobytes()
    assert abs(outcome.rounds - whole.rounds - 3) <= 1
    assert outcome.strategy.note == "3 of its rounds lacked clients and asked again."
    assert _distance(outcome, _sklearn(x, y, 0.5)) < 1e-6


def test_clients_that_drop_out_at_random_cost_rounds_and_nothing_else() -> None:
    x, y = _data()
    parts = np.array_split(np.random.default_rng(1).permutation(400), 8)
    with small_sites(x, y, parts) as sites:
        outcome, _ = federated(_config(dropout=0.15, rounds=400), sites)
    assert outcome.strategy.finished
    assert len(outcome.failures) > 20
    assert _distance(outcome, _sklearn(x, y, 0.5)) < 1e-6


def test_without_a_client_that_is_gone_it_is_the_head_of_the_others_rows() -> None:
    x, y = _data()
    with small_sites(x, y, [np.arange(0, 250), np.arange(250, 400)]) as sites:
        outcome, _ = federated(_config(), sites, missing=lambda at, who: at >= 4 and who == 1)
    told = outcome.standardisation
    assert told is not None
    z = (x[:250].astype(np.float64) - told.mean) * told.scale
    model = LogisticRegression(
        C=1 / (0.5 * (WIDTH - 1)), solver="newton-cg", tol=1e-12, max_iter=10_000
    ).fit(z, y[:250])
    assert _distance(outcome, model) < 1e-6


def test_a_client_that_was_gone_counts_again_when_it_is_back() -> None:
    x, y = _data()
    with small_sites(x, y, [np.arange(0, 250), np.arange(250, 400)]) as sites:
        outcome, _ = federated(_config(), sites, missing=lambda at, who: 3 <= at <= 12 and who == 1)
    assert _distance(outcome, _sklearn(x, y, 0.5)) < 1e-6


def test_who_was_missing_before_the_first_round_counts_from_then_on() -> None:
    x, y = _data()
    with small_sites(x, y, [np.arange(0, 250), np.arange(250, 400)]) as sites:
        outcome, _ = federated(_config(), sites, missing=lambda at, who: at == 0 and who == 1)
    told = outcome.standardisation
    assert told is not None
    z = (x.astype(np.float64) - told.mean) * told.scale
    model = LogisticRegression(
        C=1 / (0.5 * (WIDTH - 1)), solver="newton-cg", tol=1e-12, max_iter=10_000
    ).fit(z, y)
    assert _distance(outcome, model) < 1e-6


def test_nobody_in_a_round_costs_that_round_alone() -> None:
    x, y = _data()
    with small_sites(x, y, _by_class(y)) as sites:
        whole, _ = federated(_config(), sites)
        outcome, _ = federated(_config(), sites, missing=lambda at, client: at in (1, 5))
    assert outcome.rounds == whole.rounds + 2
    assert outcome.arrays["weight"].tobytes() == whole.arrays["weight"].tobytes()


def test_a_resumed_run_ends_with_the_same_bytes() -> None:
    x, y = _data()
    with small_sites(x, y, _by_class(y)) as sites:
        whole, notes = federated(_config(), sites)
        for at in (0, 5, len(notes.checkpoints) - 2, len(notes.checkpoints) - 1):
            outcome, _ = federated(_config(), sites, resume=notes.checkpoints[at])
            assert outcome.rounds == whole.rounds
            for name, value in whole.arrays.items():
                assert outcome.arrays[name].tobytes() == value.tobytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fraction": 0.5}, "fraction = 0.5; use fraction = 1 or"),
        ({"init": "fed3r"}, "brings a start of its own; use init = 'none'"),
    ],
)
def test_what_it_cannot_do_is_told(changes: dict[str, str | float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        build(_config(**changes), LinearHead(3, 2))


def test_a_head_of_two_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="head = 'mlp'"):
        FedSoftmax(_config(head="mlp"), MLPHead(4, 2))


def test_what_leaves_before_the_first_round_and_in_each() -> None:
    x, y = _data()
    with small_sites(x, y, _by_class(y)) as sites:
        _, notes = federated(_config(rounds=2), sites)
    sent = [
        (entry.server_round, entry.shape)
        for entry in notes.entries
        if entry.direction == "up" and entry.client == 0 and "[" in entry.shape
    ]
    assert sent == [
        (0, "total[12] squares[12]"),
        (0, "gram[91] class-sums[13×4]"),
        (1, "loss[1] gradient[4×13]"),
        (2, "loss[1] gradient[4×13]"),
    ]
