"""Defaults that decide what a run comes to, as the numbers that docs and docstrings state."""

from __future__ import annotations

import pytest

import strategies
from fedtl.config import RunConfig
from fedtl.statistics.disclosure import SMALLEST_CELL
from fedtl.statistics.two_way import FEWEST_SEEDS
from fedtl.statistics.verdicts import SIGNIFICANT
from fedtl.transfer.heads import LinearHead
from strategies.base.coordinates import WARM_TEMPERATURE


@pytest.mark.parametrize(
    ("strategy", "rate"),
    [("fedavgm", 1.0), ("fedadam", 0.01), ("fedyogi", 0.01), ("fedadagrad", 0.03)],
)
def test_the_servers_learning_rate_is_the_strategys_own_unless_it_is_asked_for(
    strategy: str, rate: float
) -> None:
    for asked, expected in ((0.0, rate), (0.5, 0.5)):
        config = RunConfig(strategy=strategy, server_learning_rate=asked)
        assert strategies.build(config, LinearHead(3, 2)).learning_rate == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("strategy", "temperature"), [("fed3r", 0.1), ("fedncm", 0.1), ("fedcgs", 1.0)]
)
def test_what_a_closed_forms_logits_are_divided_by(strategy: str, temperature: float) -> None:
    for asked, expected in ((0.0, temperature), (0.3, 0.3)):
        config = RunConfig(strategy=strategy, init_temperature=asked)
        built = strategies.build(config, LinearHead(3, 2))
        assert built.start_temperature == expected  # type: ignore[attr-defined]
    assert WARM_TEMPERATURE == 0.1


def test_levels_and_least_numbers() -> None:
    assert (FEWEST_SEEDS, SIGNIFICANT, SMALLEST_CELL) == (5, 0.05, 5)


def test_the_keys_that_a_run_is_most_sensitive_to() -> None:
    config = RunConfig()
    assert {
        "learning_rate": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "local_epochs": config.local_epochs,
        "batch_size": config.batch_size,
        "held_out": config.held_out,
        "test_fraction": config.test_fraction,
        "alpha": config.alpha,
        "ridge_penalty": config.ridge_penalty,
        "softmax_penalty": config.softmax_penalty,
        "fedprox_mu": config.fedprox_mu,
        "feddyn_alpha": config.feddyn_alpha,
        "ditto_lambda": config.ditto_lambda,
        "apfl_alpha": config.apfl_alpha,
        "qfedavg_q": config.qfedavg_q,
        "byzantine": config.byzantine,
        "server_momentum": config.server_momentum,
        "server_beta2": config.server_beta2,
        "server_tau": config.server_tau,
    } == {
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "local_epochs": 1,
        "batch_size": 32,
        "held_out": 0.2,
        "test_fraction": 0.1,
        "alpha": 0.3,
        "ridge_penalty": 0.5,
        "softmax_penalty": 0.05,
        "fedprox_mu": 0.1,
        "feddyn_alpha": 0.3,
        "ditto_lambda": 0.1,
        "apfl_alpha": 0.5,
        "qfedavg_q": 1.0,
        "byzantine": 0.1,
        "server_momentum": 0.9,
        "server_beta2": 0.99,
        "server_tau": 1e-3,
    }
