"""FedPFT's Gaussians against numpy, its draws against the law of large numbers, and whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from small_federation import block_of
from unreported_run import accuracy_of, without_report

import strategies
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.federation.outcome import Outcome
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import head_of
from fedtl.transfer.standardisation import Standardisation
from strategies.base import Arrays, Received, Reply
from strategies.base.coordinates import in_standardised, on_raw
from strategies.fedpft import FedPFT

Floats = NDArray[np.floating]


def _strategy(width: int, classes: int, **changes: Any) -> FedPFT:
    plain = {"strategy": "fedpft", "rounds": 5, "fedpft_covariance": "diagonal"}
    config = RunConfig(**plain | changes)
    built = strategies.build(config, head_of(config, features=width, classes=classes))
    assert isinstance(built, FedPFT)
    return built


def _block(
    x: NDArray[np.float32], y: NDArray[np.int64], parts: Sequence[NDArray[np.int64]]
) -> ClientBlock:
    return block_of(x, y, parts, int(y.max()) + 1)


def _reply(counts: Sequence[float], means: Floats, variances: Floats, examples: int = 0) -> Reply:
    arrays: Arrays = {
        "class-counts": np.array(counts, np.float32),
        "class-means": means.astype(np.float32),
        "class-variances": variances.astype(np.float32),
    }
    return Reply(examples or int(sum(counts)), arrays)


def _normal(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(2, 4), st.integers(0, 10**6))
def test_what_leaves_is_count_mean_and_variance_of_every_class(
    rows: int, width: int, classes: int, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    x = (draws.normal(size=(rows, width)) * 3 + 100).astype(np.float32)
    y = draws.integers(classes, size=rows)
    y[-1] = classes - 1
    parts = [part for part in np.array_split(draws.permutation(rows), 3) if len(part)]
    strategy = _strategy(width, classes)
    trained = strategy.client_train(_block(x, y, parts), Received({}), 1)
    for part, client in zip(parts, trained, strict=True):
        assert {name: value.shape for name, value in client.arrays.items()} == strategy.uplink
        assert {value.dtype for value in client.arrays.values()} == {np.dtype(np.float32)}
        for c in range(classes):
            own = x[part][y[part] == c].astype(np.float64)
            count, mean, variance = (client.arrays[name][c] for name in strategy.uplink)
            assert count == len(own)
            expected = own if len(own) else np.zeros((1, width))
            np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-6)
            np.testing.assert_allclose(variance, expected.var(0), rtol=1e-5, atol=1e-9)


def test_the_draws_have_the_moments_that_were_sent() -> None:
    means, variances = 5 * _normal((3, 4)), _normal((3, 4), 1) ** 2
    counts = (30_000, 0, 50_000)
    x, y = _strategy(4, 3).draw(2, _reply(counts, means, variances))
    assert tuple(np.bincount(y, minlength=3)) == counts
    for c in (0, 2):
        own = x[y == c].astype(np.float64)
        # Five standard errors of a mean, a variance and a correlation.
        error = 5 / np.sqrt(len(own))
        assert (np.abs(own.mean(0) - means[c]) < error * np.sqrt(variances[c])).all()
        assert (np.abs(own.var(0) - variances[c]) < error * np.sqrt(2) * variances[c]).all()
        off = np.corrcoef(own.T)[~np.eye(4, dtype=bool)]
        assert (np.abs(off) < error).all()


@pytest.mark.parametrize("examples", [3, 40_000])
def test_with_full_covariances_features_vary_together_as_they_do(examples: int) -> None:
    """Also where a class has fewer examples than features, and its covariance no inverse."""
    mixing = _normal((5, 5)) * [1, 2, 0.1, 3, 1]
    x = (_normal((examples, 5), 1) @ mixing.T + 7).astype(np.float32)
    y = np.zeros(examples, np.int64)
    y[0] = 1
    strategy = _strategy(5, 2, fedpft_covariance="full")
    (trained,) = strategy.client_train(_block(x, y, [np.arange(examples)]), Received({}), 1)
    assert {name: value.shape for name, value in trained.arrays.items()} == strategy.uplink
    expected = np.cov(x[1:].astype(np.float64).T, bias=True)
    sent = trained.arrays["class-covariances"]
    np.testing.assert_allclose(sent[0], expected[np.triu_indices(5)], rtol=1e-5, atol=1e-5)
    assert (sent[1] == 0).all()

    many = {**trained.arrays, "class-counts": np.array([200_000, 1], np.float32)}
    drawn, labels = strategy.draw(0, Reply(200_001, many))
    np.testing.assert_allclose(drawn[labels == 1][0], x[0], rtol=1e-6)
    found = drawn[labels == 0].astype(np.float64)
    scale = np.sqrt(expected.trace() / 5)
    np.testing.assert_allclose(found.mean(0), x[1:].mean(0), atol=0.02 * scale)
    np.testing.assert_allclose(np.cov(found.T), expected, atol=0.03 * expected.max())


def test_a_matrix_that_is_no_covariance_counts_as_its_diagonal() -> None:
    triangle = np.zeros((2, 6), np.float32)
    triangle[:, [0, 3, 5]] = [4.0, 1.0, -2.0]
    triangle[:, 1] = 1e6
    arrays: Arrays = {
        "class-counts": np.array([50_000, 0], np.float32),
        "class-means": np.ones((2, 3), np.float32),
        "class-covariances": triangle,
    }
    x, _ = _strategy(3, 2, fedpft_covariance="full").draw(0, Reply(50_000, arrays))
    np.testing.assert_allclose(x.std(0), [2.0, 1.0, 0.0], rtol=0.02)


def test_draws_belong_to_the_seed_and_the_place_and_to_nobody_else() -> None:
    reply = _reply((5, 7), _normal((2, 3)), np.ones((2, 3)))
    first = _strategy(3, 2).draw(1, reply)[0]
    np.testing.assert_array_equal(first, _strategy(3, 2, clients=99, rounds=1).draw(1, reply)[0])
    assert not np.isclose(first, _strategy(3, 2).draw(0, reply)[0]).any()
    assert not np.isclose(first, _strategy(3, 2, seed=1).draw(1, reply)[0]).any()


def test_clients_that_change_places_change_draws_and_nothing_else() -> None:
    one = _reply((4, 6), _normal((2, 3)), np.full((2, 3), 4.0))
    other = _reply((4, 6), _normal((2, 3), 1), np.full((2, 3), 0.25))
    strategy = _strategy(3, 2)

    def noise(position: int, reply: Reply) -> Floats:
        x, y = strategy.draw(position, reply)
        deviations = np.sqrt(reply.arrays["class-variances"])
        noise: Floats = (x - reply.arrays["class-means"][y]) / deviations[y]
        return noise

    np.testing.assert_allclose(noise(0, one), noise(0, other), atol=1e-5)
    np.testing.assert_allclose(noise(1, one), noise(1, other), atol=1e-5)


def test_a_class_without_spread_is_drawn_as_its_mean() -> None:
    means = _normal((2, 3)).astype(np.float32)
    x, y = _strategy(3, 2).draw(0, _reply((1, 2), means, np.zeros((2, 3))))
    np.testing.assert_array_equal(x, means[y])


@pytest.mark.parametrize("counts", [(1e9, 1e9), (-5.0, 20.0), (0.4, 0.4), (3.0, 1e30)])
def test_counts_that_lie_bring_no_more_draws_than_examples(counts: tuple[float, float]) -> None:
    reply = _reply(counts, np.ones((2, 3)), np.full((2, 3), -1.0), examples=20)
    x, y = _strategy(3, 2).draw(0, reply)
    assert len(x) == len(y) <= 20
    assert (x == 1).all()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_head_on_features_as_they_are_has_the_same_logits(kind: str) -> None:
    config = RunConfig(head=kind, hidden_units=5)
    head = head_of(config, features=4, classes=3)
    x = (_normal((9, 4)) * [0.1, 1, 10, 0] + [1, -3, 50, 7]).astype(np.float32)
    own = Standardisation(x.mean(0), np.array([9.0, 1.1, 0.1, 0.0], np.float32))
    trained: Arrays = {
        name: _normal(shape, at).astype(np.float32)
        for at, (name, shape) in enumerate(head.shapes.items())
    }
    weight, bias = list(head.shapes)[:2]
    raw = on_raw(trained, own, weight=weight, bias=bias)

    def logits(arrays: Arrays, features: torch.Tensor) -> Floats:
        tensors = {name: torch.from_numpy(value)[None].double() for name, value in arrays.items()}
        out: Floats = head.logits(tensors, features[None].double())[0].numpy()
        return out

    expected = logits(trained, own.apply(torch.from_numpy(x)))
    np.testing.assert_allclose(logits(raw, torch.from_numpy(x)), expected, rtol=1e-4, atol=1e-4)
    if kind == "linear":
        back = in_standardised(raw, own, 1.0)
        np.testing.assert_allclose(back["weight"][:, :3], trained["weight"][:, :3], rtol=1e-5)
        np.testing.assert_allclose(back["bias"], trained["bias"], rtol=1e-5, atol=1e-5)


def test_a_linear_head_is_solved_to_convergence() -> None:
    """As scikit-learn does on the same rows, standardised; no seed or step matters."""
    x, y = (_normal((60, 4)) * [0.1, 1, 10, 3] + 2).astype(np.float32), np.arange(60) % 3
    block = _block(x, y, [np.arange(25), np.arange(25, 60)])
    heads = _strategy(4, 3, softmax_penalty=0.5).train_alone(block)
    for rows, head in zip(block.rows, heads, strict=True):
        scaled = StandardScaler().fit_transform(x[rows].astype(np.float64))
        expected = LogisticRegression(C=1 / (0.5 * 4), tol=1e-9).fit(scaled, y[rows])
        np.testing.assert_allclose(head.arrays["weight"], expected.coef_, atol=1e-4)
        bias = head.arrays["bias"] - head.arrays["bias"].mean()
        np.testing.assert_allclose(bias, expected.intercept_, atol=1e-4)
    others = _strategy(4, 3, softmax_penalty=0.5, seed=9, rounds=1, learning_rate=1.0)
    assert others.alone_key == _strategy(4, 3, softmax_penalty=0.5).alone_key
    for one, other in zip(heads, others.train_alone(block), strict=True):
        assert one.arrays["weight"].tobytes() == other.arrays["weight"].tobytes()


def test_an_mlp_alone_trains_as_with_fedavg() -> None:
    x, y = _normal((30, 4)).astype(np.float32), np.arange(30) % 3
    block = _block(x, y, [np.arange(12), np.arange(12, 30)])
    strategy = _strategy(4, 3, head="mlp", hidden_units=5)
    theirs = strategies.build(strategy.config.replace(strategy="fedavg"), strategy.head)
    assert strategy.alone_key == theirs.alone_key
    for own, other in zip(strategy.train_alone(block), theirs.train_alone(block), strict=True):
        for name, value in other.arrays.items():
            assert own.arrays[name].tobytes() == value.tobytes()


def test_nothing_drawn_gives_no_head() -> None:
    strategy = _strategy(3, 2)
    assert strategy.aggregate(1, {}, []) is None
    nothing = _reply((0, 0), np.zeros((2, 3)), np.zeros((2, 3)))
    assert strategy.aggregate(1, {}, [nothing]) is None


def test_a_cosine_head_is_refused() -> None:
    with pytest.raises(UsageError, match="use head = 'linear' or 'mlp'"):
        _strategy(3, 2, head="cosine")


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of four classes, at sites that have most of one class each."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 900)
    x = 0.8 * rng.normal(size=(4, 12))[y] + rng.normal(size=(900, 12))
    x = (x * 10.0 ** rng.uniform(-1, 1, 12) + rng.uniform(-9, 9, 12)).astype(np.float32)
    site = np.where(rng.random(900) < 0.8, y, rng.integers(0, 4, 900))
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, site=site, test=np.arange(900) >= 500)
    return path


def _simulated(data: Path, out: Path, **changes: Any) -> Outcome:
    plain: dict[str, Any] = {"partition": "natural", "engine": "inline", "strategy": "fedpft"}
    run, _ = without_report(RunConfig(data=f"features:{data}", out=str(out), **(plain | changes)))
    return run.outcome


def test_one_round_is_near_the_ridge_head_of_all_data(data: Path, tmp_path: Path) -> None:
    exact = _simulated(data, tmp_path / "fed3r", strategy="fed3r")
    for covariance in ("full", "diagonal"):
        drawn = _simulated(data, tmp_path / covariance, fedpft_covariance=covariance)
        assert drawn.rounds == 1
        assert not drawn.failures
        assert drawn.standardisation is None
        assert accuracy_of(drawn) > accuracy_of(exact) - 0.05 > 0.6
    layers = _simulated(data, tmp_path / "mlp", head="mlp", hidden_units=16, rounds=10)
    assert accuracy_of(layers) > accuracy_of(exact) - 0.05


def test_a_lying_client_does_not_break_the_run(data: Path, tmp_path: Path) -> None:
    for attack in ("sign-flip", "noise", "scale"):
        for covariance in ("full", "diagonal"):
            outcome = _simulated(
                data,
                tmp_path / attack / covariance,
                rounds=1,
                attack=attack,
                attackers=0.25,
                fedpft_covariance=covariance,
            )
            [(server_round, _, said)] = outcome.failures
            assert server_round == 1 and said.startswith("counts of classes ")
            assert all(np.isfinite(value).all() for value in outcome.arrays.values())


def test_a_server_draws_no_more_than_it_can_hold_whatever_clients_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("strategies.fedpft._MOST_DRAWS", 1000)
    honest = _reply((30, 60), _normal((2, 3)), np.ones((2, 3)))
    liar = _reply((10**6, 0), _normal((2, 3)), np.ones((2, 3)), examples=10**6)
    strategy = _strategy(3, 2)
    strategy.aggregate(1, {}, [honest, liar])
    assert [len(strategy.draw(at, one)[1]) for at, one in enumerate((honest, liar))] == [0, 999]
    assert (
        "drew 1,000 features, the most that it draws, for the 1,000,090 examples" in strategy.note
    )
    again = _strategy(3, 2)
    again.restore_server_state(strategy.server_state())
    assert again.note == strategy.note
    again.aggregate(1, {}, [honest])
    assert again.note == ""
    assert len(again.draw(0, honest)[1]) == 90
