"""Defaults that decide what a run comes to, as the numbers that docs and docstrings state."""

from __future__ import annotations

import pytest

import strategies
from fedtl.config import RunConfig
from fedtl.known_options import shipped_options
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
    ("strategy", "temperature"),
    [("fed3r", 0.1), ("fedncm", 0.1), ("textncm", 0.01), ("fedcgs", 1.0)],
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
    keys = ("learning_rate", "momentum", "weight_decay", "epochs", "batch_size")
    assert [getattr(config, key) for key in keys] == [0.01, 0.9, 1e-4, 1, 32]
    assert (config.held_out, config.test_fraction, config.option("alpha")) == (0.2, 0.1, 0.3)


def test_the_options_of_strategies() -> None:
    shipped = shipped_options().items()
    found = {key: known.option.default for key, known in shipped if known.key == "strategy"}
    assert found == {
        "apfl-alpha": 0.5,
        "byzantine": 0.1,
        "ditto-lambda": 0.1,
        "fedcof-parts": 0,
        "feddyn-alpha": 0.3,
        "feddyn-steps": 60,
        "feddyn-weights": "examples",
        "fedpft-covariance": "full",
        "fedprox-mu": 0.1,
        "qfedavg-q": 1.0,
        "ridge-penalty": 0.5,
        "ridge-penalty-from": "fixed",
        "scaffold-weights": "examples",
        "server-beta2": 0.99,
        "server-learning-rate": 0.0,
        "server-momentum": 0.9,
        "server-tau": 1e-3,
        "text-weight": 1.0,
        "softmax-penalty": 0.05,
    }
