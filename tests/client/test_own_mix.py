"""The shared head read with a client's own mix, as sure as examples that are new to it say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from small_federation import block_of, small_sites

from fedtl.client.own_mix import OwnMix, own_mix
from fedtl.config import RunConfig
from fedtl.transfer.heads import head_of
from strategies import build

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# As many of each class everywhere; this client has ten times as many of the first.
EVERYONE = np.array([500, 500])
TRAIN, HELD_OUT = np.arange(110), np.arange(110, 330)
# The log-odds of two unit Gaussians at -1 and 1 are 2 x; this head says twelve times as much.
SHARPNESS = 12.0


def _client(seed: int) -> tuple[Floats, Ints]:
    """Return one feature and labels; the training examples are all on their class's side."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.repeat([0, 1], [100, 10]), np.repeat([0, 1], [200, 20])]
    x = rng.normal(size=330) + 2 * y - 1
    x[TRAIN] = np.abs(x[TRAIN]) * (2 * y[TRAIN] - 1)
    return x.astype(np.float32), y


def _mix(
    x: Floats,
    y: Ints,
    groups: Ints | None = None,
    strategy: str = "fedavg",
    held_out: Ints = HELD_OUT,
    left_out: torch.Tensor | None = None,
    sharpness: float = SHARPNESS,
    bias: tuple[float, float] = (0.0, 0.0),
) -> OwnMix:
    config = RunConfig(strategy=strategy)
    built = build(config, head_of(config, features=1, classes=2))
    weight = torch.tensor([[[-sharpness], [sharpness]]])
    head = {"weight": weight, "bias": torch.tensor([bias])}
    features = x[:, None].astype(np.float32)
    with small_sites(features, y, [TRAIN], held_out=[held_out], groups=groups) as sites:
        data = sites.site(0).data
        said = None if left_out is None else [left_out]
        block = block_of(features, y, [TRAIN], 2)
        return own_mix(built, block, head, [data], EVERYONE, said, keep_logits=True)


def _offset() -> Floats:
    own, all_of_them = np.array([100.5, 10.5]) / 111, np.array([0.5, 0.5])
    return np.asarray(np.log(own / all_of_them))


def _likeliest(x: Floats, y: Ints) -> float:
    """Return the temperature of these examples, with a normal prior about 1 for its logarithm."""

    def loss(log_t: float) -> float:
        said = np.outer(x, [-SHARPNESS, SHARPNESS]) / np.exp(log_t) + _offset()
        return log_t**2 / (2 * 0.5**2) - float(log_softmax(said, 1)[np.arange(len(y)), y].sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def test_a_head_that_fits_its_training_rows_is_not_made_surer_by_them() -> None:
    """The held-out rows alone say how much too sure it is, and the correction then helps."""
    plain, best = [], []
    for seed in range(5):
        x, y = _client(seed)
        mix = _mix(x, y)
        t = 1 / float(mix.adjustment.scale[0])
        expected = _likeliest(x[HELD_OUT], y[HELD_OUT])
        assert t == pytest.approx(expected, rel=0.09)
        assert t > 6
        plain.append(((x > 0) == y)[HELD_OUT].mean())
        # What Bayes' rule says with the frequencies that the client has.
        bayes = (2 * x + np.log(10.5 / 100.5) > 0) == y
        best.append((bayes[HELD_OUT].mean(), mix.held_out[0].accuracy))
    found = np.array(best)
    assert np.abs(found[:, 0] - found[:, 1]).max() < 0.02
    assert found[:, 1].mean() > np.mean(plain) + 0.05


def test_what_the_head_knows_of_the_mix_already_is_not_added_again() -> None:
    """Its outputs are the true log-odds with the client's own frequencies of classes."""
    x, y = _client(3)
    knows = tuple(np.log([10.0 / 11, 1.0 / 11]).tolist())
    mix = _mix(x, y, sharpness=1.0, bias=knows)
    assert mix.adjustment.offset[0].tolist() == [0, 0]
    assert float(mix.adjustment.scale[0]) == pytest.approx(1, rel=0.2)
    right = (2 * x + np.log(1 / 10) > 0) == y
    assert mix.held_out[0].accuracy == pytest.approx(right[HELD_OUT].mean(), abs=0.01)
    whole = _mix(x, y, sharpness=1.0).adjustment.offset[0]
    np.testing.assert_allclose(whole.numpy(), _offset(), rtol=1e-6)


@pytest.mark.parametrize("per", [1, 4])
def test_no_examples_temperature_knows_its_own_label(per: int) -> None:
    """Another label of one example or group changes what is said of others, never of it."""
    x, y = _client(0)
    groups = None if per == 1 else np.arange(len(y)) // per
    before = _mix(x, y, groups).held_out[0].logits
    # The last of its class: the order of classes, by which parts are dealt, stays as it is.
    at = np.arange(308, 312) if per == 4 else np.array([309])
    moved = x.copy()
    moved[at] = 8.0
    after = _mix(moved, y, groups).held_out[0].logits
    assert before is not None
    assert after is not None
    others = np.setdiff1d(HELD_OUT, at) - HELD_OUT[0]
    own = at - HELD_OUT[0]

    def temperature(logits: NDArray[np.float32], features: Floats) -> Floats:
        odds = logits[:, 1] - logits[:, 0] - (_offset()[1] - _offset()[0])
        return np.asarray(2 * SHARPNESS * features[HELD_OUT] / odds)

    was, now = temperature(before, x), temperature(after, moved)
    np.testing.assert_allclose(was[own], now[own], rtol=1e-3)
    assert (np.abs(was[others] / now[others] - 1) > 0.05).any()


def test_few_examples_that_are_right_do_not_make_the_head_certain() -> None:
    x, y = _client(1)
    few = np.flatnonzero((x > 0) == y)
    few = few[few >= 110][:6]
    t = _likeliest(x[few], y[few])
    x[110:116], y[110:116] = x[few], y[few]
    found = 1 / float(_mix(x, y, held_out=np.arange(110, 116)).adjustment.scale[0])
    assert found == pytest.approx(t, rel=0.09)
    assert found > 0.2


def test_examples_of_a_patient_count_as_one() -> None:
    """A patient has forty pictures, all alike, of which the head is wrong."""
    x, y = _client(4)
    x[290:], y[290:] = -1.5, 1
    groups = np.arange(330)
    groups[290:] = 290
    found = 1 / float(_mix(x, y, groups).adjustment.scale[0])
    once = 1 / float(_mix(x, y, held_out=np.arange(110, 291)).adjustment.scale[0])
    assert found == pytest.approx(once, rel=1e-6)
    assert found < 0.8 / float(_mix(x, y).adjustment.scale[0])


def test_rows_left_out_of_the_head_say_how_sure_it_is() -> None:
    """Least squares has no scale: what it says of its own rows is a guess, of rows without it news.

    Here all that it says without a row is half as large.
    """
    _, y = _client(2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=330) + 2 * y - 1
    own = np.outer(x[TRAIN], [-0.1, 0.1])
    mix = _mix(x, y, strategy="fed3r", sharpness=0.1, left_out=torch.from_numpy(own / 2))

    def best(said: Floats, guess: float | None) -> float:
        def loss(log_t: float) -> float:
            odds = said / np.exp(log_t) + _offset()
            prior = 0.0 if guess is None else np.log(np.exp(log_t) / guess) ** 2 / (2 * 0.5**2)
            return float(prior - log_softmax(odds, 1)[np.arange(110), y[TRAIN]].sum())

        return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))

    guess = best(own, None)
    found = 1 / float(mix.adjustment.scale[0])
    assert found == pytest.approx(best(own / 2, guess), rel=0.09)
    assert found < guess * 0.8


def test_no_row_that_is_left_out_knows_how_it_is_read_by_its_own_label() -> None:
    x, y = _client(2)
    said = torch.from_numpy(np.outer(x[TRAIN], [-1.0, 1.0]))
    moved = said.clone()
    moved[109] = moved[109] * -9
    was, now = (
        _mix(x, y, strategy="fed3r", sharpness=1.0, left_out=one).left_out[0].temperature
        for one in (said, moved)
    )
    assert was[109] == now[109]
    assert (was[:109] != now[:109]).any()
