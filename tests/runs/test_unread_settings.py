"""Settings without effect are told, all in one sentence, and none that has an effect is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dealt_rows import dataset
from in_process import complaint, finished

import strategies
from fedtl import compare, simulate
from fedtl.config import RunConfig
from fedtl.config_keys.every import rules
from fedtl.runs.unread_settings import unread_settings

FEATURES = dataset(np.arange(40) % 2, sites=np.arange(40) // 20)


def _told(*configs: dict[str, Any], data: Any = FEATURES, clients: int = 2) -> str:
    return unread_settings([RunConfig(**config) for config in configs], data, clients)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"partition": "natural", "clients": 7}, "clients = 7 (partition = natural has 2 sites)"),
        ({"partition": "iid", "alpha": 0.1}, "alpha = 0.1 (partition = iid)"),
        ({"partition": "shard", "classes_per_client": 3}, "classes-per-client = 3"),
        ({"data": "features:x.npz", "hospitals_size": 32}, "hospitals-size = 32 (data = features"),
        ({"data": "features:x.npz", "group_from": "p*"}, "group-from = p* (data = features is not"),
        ({"backbone": "mobilenet_v2"}, "backbone = mobilenet_v2 (the data are features)"),
        ({"strategy": "fedavg", "fedprox_mu": 1.0}, "fedprox-mu = 1 (strategy = fedavg)"),
        ({"strategy": "fedavgm", "server_beta2": 0.5}, "server-beta2 = 0.5 (strategy = fedavgm)"),
        ({"strategy": "fed3r", "rounds": 60}, "rounds = 60 (strategy = fed3r needs one round)"),
        ({"strategy": "fed3r", "learning_rate": 1.0}, "learning-rate = 1 (strategy = fed3r)"),
        ({"strategy": "local", "rounds": 60}, "rounds = 60 (strategy = local needs one round)"),
        ({"strategy": "fedsoftmax", "batch_size": 8}, "batch-size = 8 (strategy = fedsoftmax)"),
        ({"strategy": "fedpft", "local_epochs": 2}, "local-epochs = 2 (strategy = fedpft)"),
        ({"ridge_penalty": 2.0}, "ridge-penalty = 2 (strategy = fedavg)"),
        (
            {"strategy": "fedncm", "ridge_penalty_from": "gcv"},
            "ridge-penalty-from = gcv (strategy = fedncm)",
        ),
        (
            {"strategy": "fed3r", "ridge_penalty": 2.0, "ridge_penalty_from": "gcv"},
            "ridge-penalty = 2 (ridge-penalty-from = gcv)",
        ),
        ({"attackers": 0.5}, "attackers = 0.5 (attack = none)"),
        ({"attack": "label-flip", "attack_strength": 3.0}, "attack-strength = 3"),
        ({"init_temperature": 1.0}, "init-temperature = 1 (init = none)"),
        ({"own_data_rows": "all"}, "own-data-rows = all (strategy = fedavg)"),
        (
            {"own_data_rows": "all", "strategy": "fed3r", "personalise": 1},
            "own-data-rows = all (personalise = 1)",
        ),
        ({"hidden_units": 8}, "hidden-units = 8 (head = linear)"),
    ],
)
def test_a_setting_that_nothing_reads(config: dict[str, Any], said: str) -> None:
    told = _told(config)
    assert said in told
    assert told.endswith(" has no effect")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"alpha": 0.1, "clients": 7, "min_examples": 1},
        {"strategy": "fed3r", "rounds": 1},
        {"strategy": "fedprox", "fedprox_mu": 1.0, "rounds": 3, "learning_rate": 1.0},
        {"strategy": "fedyogi", "server_beta2": 0.5, "server_momentum": 0.1},
        {"init": "afl", "init_temperature": 1.0},
        {"strategy": "fed3r", "personalise": 2, "learning_rate": 1.0},
        {"strategy": "fedsoftmax", "softmax_penalty": 1.0, "rounds": 9},
        {"strategy": "fedsoftmax", "personalise": 2, "batch_size": 8},
        {"strategy": "fedcgs", "ridge_penalty_from": "gcv"},
        {"init": "fed3r", "ridge_penalty": 2.0},
        {"attack": "noise", "attackers": 0.5, "attack_strength": 2.0},
        {"hospitals_size": 32, "seed": 4, "out": "somewhere", "held_out": 0.3},
        {"head": "mlp", "hidden_units": 8},
        {"test_fraction": 0.2},
        {"strategy": "fed3r", "own_data_rows": "all"},
        {"engine": "inline", "client_gpus": 1.0},
    ],
)
def test_a_setting_that_is_read_is_not_told(config: dict[str, Any]) -> None:
    assert _told(config) == ""


def test_what_a_comparison_does_not_read() -> None:
    configs = [RunConfig(samples="4", pseudonyms=True, seed=seed) for seed in (1, 2)]
    assert unread_settings(configs, FEATURES, 2) == ""
    told = unread_settings(configs, FEATURES, 2, compared=True)
    assert "samples = 4 (a comparison shows no pictures)" in told
    assert "pseudonyms = True (a comparison calls clients by number" in told
    assert told.endswith("have no effect")


def test_what_a_default_comes_to_is_not_told_as_if_a_person_had_set_it() -> None:
    config = RunConfig(strategy="fedpft").settled()
    assert (config.local_epochs, config.rounds) == (1, 50)
    told = unread_settings([config], FEATURES, 2)
    assert "local-epochs" not in told and "rounds" not in told
    assert "rounds = 40" in unread_settings([config.replace(rounds=40)], FEATURES, 2)


def test_the_test_fraction_of_data_with_a_test_split() -> None:
    own = replace(FEATURES, test=np.arange(40) < 10)
    assert "test-fraction = 0.3 (the data have a test split" in _told(
        {"test_fraction": 0.3}, data=own
    )
    assert _told({"test_fraction": 0.0}, data=own) == ""
    assert _told({"test_fraction": 0.3}, data=replace(own, test_is_held_out=True)) == ""


def test_all_are_told_in_one_sentence() -> None:
    told = _told({"partition": "iid", "alpha": 0.1, "fedprox_mu": 1.0})
    assert (
        told == "alpha = 0.1 (partition = iid), fedprox-mu = 1 (strategy = fedavg) have no effect"
    )


def test_what_one_run_of_a_comparison_reads_has_an_effect() -> None:
    both = [{"strategy": name, "fedprox_mu": 1.0} for name in ("fedavg", "fedprox")]
    assert _told(*both) == ""
    assert "fedprox-mu" in _told(both[0], both[0])


def test_keys_that_begin_with_a_strategys_name_say_who_reads_them() -> None:
    for key, rule in rules().items():
        if key.partition("-")[0] in set(strategies.available()) - {"local"}:
            assert any(f"({name}" in rule.help for name in strategies.available()), key


def test_a_run_and_a_comparison_tell_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(300, 3)) + y[:, None], y=y)
    flags = ["--data", f"features:{tmp_path / 'x.npz'}", "--engine", "inline", "--partition", "iid"]
    flags += ["--alpha", "0.1", "--clients", "3", "--rounds", "2"]
    refused = "alpha is an option of dirichlet, and the run has partition = iid; choose it, or"
    assert refused in complaint(simulate.main, *flags)
    (tmp_path / "scenario.toml").write_text("alpha = 0.1\n")
    in_file = ["--config", tmp_path / "scenario.toml", *flags[:6], *flags[8:]]
    end = finished(simulate.main, "--quiet", *in_file, "--out", tmp_path / "run")
    assert end.stderr == "warning: alpha = 0.1 (partition = iid) has no effect\n"
    strategies = ["--strategies", "fedavg,fed3r", "--seeds", "1"]
    end = finished(compare.main, "--quiet", *flags, *strategies, "--out", tmp_path / "all")
    assert end.stderr == "warning: alpha = 0.1 (partition = iid) has no effect\n"
