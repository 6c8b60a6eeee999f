"""Clients that drop out, are slow or hostile: what the scenario says, and reproducibly so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import finished
from iterative_reference import (
    SIZES,
    Vector,
    block_of,
    built,
    config,
    local_sgd,
    stacked,
    vector,
)
from unreported_run import accuracy_of, without_report

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.federation.outcome import Outcome
from fedtl.scenario.adversity import attackers, before_training, drops_out, falsified
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.minibatches import batch_width
from strategies.base import Arrays, Received, Reply, State, Trained
from strategies.fedavg import FedAvg

CLIENTS = 10
HEAD = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.floats(0, 1))
def test_hostile_clients_are_as_many_as_asked_and_the_seeds(
    seed: int, clients: int, fraction: float
) -> None:
    scenario = RunConfig(seed=seed, clients=clients, attack="noise", attackers=fraction)
    chosen = attackers(scenario)
    assert len(chosen) == round(fraction * clients)
    assert chosen <= set(range(clients))
    assert attackers(scenario.replace(attack="scale", rounds=3)) == chosen
    assert not attackers(scenario.replace(attack="none"))


def _sent(attack: str, found: dict[str, Any]) -> dict[str, Any]:
    scenario = RunConfig(attack=attack, attackers=0.3, attack_strength=4.0)
    trained = Trained(found, 0.5, {"own": np.ones(2, np.float32)})
    sent = falsified(scenario, 2, min(attackers(scenario)), HEAD, trained)
    assert sent.memory is trained.memory
    return sent.arrays


def test_hostile_heads_are_turned_or_stretched_about_the_head_that_was_sent() -> None:
    w = HEAD["weight"]
    found = {"weight": w + 0.5, "extra": np.full(3, 2.0)}
    turned, stretched = _sent("sign-flip", found), _sent("scale", found)
    np.testing.assert_allclose(turned["weight"], w - 2.0)
    np.testing.assert_allclose(stretched["weight"], w + 2.0)
    np.testing.assert_allclose(turned["extra"], -8.0)
    assert turned["weight"].dtype == found["weight"].dtype
    assert turned["extra"].dtype == np.float64


def test_noise_is_as_large_as_the_change_times_the_strength() -> None:
    large = {"statistics": np.full(40_000, 3.0)}
    noise = _sent("noise", large)["statistics"]
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert noise.std() == pytest.approx(12, rel=0.02)
    np.testing.assert_array_equal(noise, _sent("noise", large)["statistics"])


def test_label_flip_trains_hostile_clients_alone_on_flipped_labels() -> None:
    block = block_of()
    scenario = config("fedavg", attack="label-flip", attackers=0.5)
    hostile = attackers(scenario)
    flipped = before_training(scenario, 1, block).labels
    for client, rows in enumerate(block.rows):
        own = block.labels[torch.from_numpy(rows)]
        expected = 2 - own if client in hostile else own
        assert torch.equal(flipped[torch.from_numpy(rows)], expected)
    assert torch.equal(block.labels, block_of().labels)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.9]))
def test_as_many_drop_out_as_the_probability_says(seed: int, probability: float) -> None:
    scenario = RunConfig(seed=seed, dropout=probability)
    missing = [drops_out(scenario, t, k) for t in range(20) for k in range(50)]
    # Six standard deviations of a binomial.
    assert abs(np.mean(missing) - probability) < 6 * np.sqrt(probability * (1 - probability) / 1000)
    assert not any(drops_out(scenario.replace(dropout=0.0), 1, k) for k in range(50))


@pytest.mark.parametrize("strategy", ["fedavg", "fednova", "scaffold"])
def test_stragglers_do_the_first_part_of_their_steps(strategy: str) -> None:
    """Each ends where float64 SGD is after as many steps, whoever else is in its stack."""
    scenario = config(strategy, straggle=1.0, local_epochs=3, batch_size=4)
    block = before_training(scenario, 1, block_of())
    assert block.effort is not None
    head = dict(built(scenario).head.initial("seeded", 0))
    sent = stacked(head, len(SIZES))
    nought = {name: torch.zeros_like(value) for name, value in sent.items()}
    trained = built(scenario).client_train(block, Received(sent, nought, nought), 1)
    lengths = set()
    for client, result in enumerate(trained):
        width = batch_width(SIZES[client], 4)
        whole = 3 * -(-SIZES[client] // width)
        steps = max(1, int(block.effort[client] * whole))
        lengths.add(steps == whole)
        theta = _after(scenario, vector(head), client, steps)
        if strategy == "fednova":
            assert result.arrays["step-weight"] == steps
            change = np.concatenate(
                [result.arrays[f"normalised-change.{name}"].ravel() for name in ("weight", "bias")]
            )
            found: Vector = vector(head) + steps * change
        else:
            found = vector(result.arrays)
        np.testing.assert_allclose(found, theta, rtol=1e-4, atol=1e-5)
        assert np.isfinite(result.loss)
    assert lengths == {False}


def _after(scenario: RunConfig, start: Vector, client: int, steps: int) -> Vector:
    """Return where SGD is after so many steps: those after them go nowhere."""
    taken = 0

    def descent(_: Vector, gradient: Vector) -> Vector:
        nonlocal taken
        taken += 1
        return gradient if taken <= steps else 0 * gradient

    return local_sgd(scenario, start, client, 1, descent)[0]


def test_nobody_straggles_unless_drawn() -> None:
    block = before_training(config("fedavg", straggle=0.3, clients=1000), 4, block_of([2] * 1000))
    assert block.effort is not None
    assert 0.25 < (block.effort < 1).mean() < 0.35
    assert (block.effort >= 0).all()
    assert before_training(config("fedavg"), 4, block_of()).effort is None


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 900)
    x = (1.3 * rng.normal(size=(4, 12))[y] + rng.normal(size=(900, 12))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, test=np.arange(900) >= 600)
    return path


def _simulated(data: Path, out: Path, **changes: Any) -> Outcome:
    plain: dict[str, Any] = {
        "partition": "iid",
        "clients": CLIENTS,
        "engine": "inline",
        "rounds": 8,
    }
    run, folder = without_report(
        RunConfig(data=f"features:{data}", out=str(out), **(plain | changes))
    )
    # One set of flags serves all rules, and not every rule reads each.
    assert not [told for told in folder.remembered.warnings if not told.endswith("no effect")]
    return run.outcome


def test_who_is_missing_is_named_and_as_often_as_asked(data: Path, tmp_path: Path) -> None:
    scenario = {"dropout": 0.3, "straggle": 0.5, "attack": "noise", "strategy": "scaffold"}
    outcome = _simulated(data, tmp_path / "run", **scenario)
    missing = {(server_round, client) for server_round, client, _ in outcome.failures}
    assert len(missing) == len(outcome.failures)
    assert 8 * CLIENTS * 0.1 < len(missing) < 8 * CLIENTS * 0.5
    assert {why for *_, why in outcome.failures} == {"dropped out (dropout = 0.3)"}


def test_hostile_clients_are_marked_by_name(data: Path, tmp_path: Path) -> None:
    flags = (
        "--clients",
        5,
        "--rounds",
        1,
        "--engine",
        "inline",
        "--attack",
        "scale",
        "--attackers",
        0.4,
    )
    end = finished(
        simulate.main,
        "--data",
        f"features:{data}",
        "--clients",
        5,
        "--out",
        tmp_path / "run",
        *flags,
    )
    assert end.exit_code == 0, end.stderr
    expected = sorted(attackers(RunConfig(clients=5, attack="scale", attackers=0.4)))
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    assert [at for at, line in enumerate(lines) if "(hostile)" in line] == expected
    assert end.stdout.count("(hostile)") == 2
    assert "(hostile)" in (tmp_path / "run" / "report.html").read_text()


def test_the_hostile_and_nobody_else_send_what_they_did_not_find(
    data: Path, tmp_path: Path
) -> None:
    """From a head at nought, two of five send three times what they found, the others that."""
    sent = {"rounds": 1, "strategy": "test_adversity:Each", "clients": 5}
    _EACH.clear()
    _simulated(data, tmp_path / "honest", **sent)
    attack = {"attack": "scale", "attackers": 0.4, "attack_strength": 3.0}
    _simulated(data, tmp_path / "attacked", **sent, **attack)
    hostile = attackers(RunConfig(clients=5, **attack))
    assert len(hostile) == 2
    for key, value in _EACH[0].items():
        factors = np.where(np.isin(np.arange(5), list(hostile)), 3.0, 1.0)
        factors = factors.reshape(-1, *(1 for _ in value.shape[1:]))
        np.testing.assert_allclose(_EACH[1][key], factors * value, rtol=1e-5, atol=1e-7)


_EACH: list[dict[str, Any]] = []


class Each(FedAvg):
    """FedAvg that notes what each client sent; the head begins at nought."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        noted = list(replies)
        _EACH.append({key: np.stack([one.arrays[key] for one in noted]) for key in head})
        return super().aggregate(server_round, head, noted)


class Diverging(FedAvg):
    """Clients count the rounds that they remember, and send NaN in the second of them."""

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        return {"rounds": ()}

    def client_init(self, received: Received, block: ClientBlock) -> State:
        return {**super().client_init(received, block), "memory": received.memory}

    def client_final(self, state: State) -> Tensors:
        second = state["memory"]["rounds"] == 1
        return {
            name: value.masked_fill(second.view(-1, *(1 for _ in value.shape[1:])), torch.nan)
            for name, value in state["parameters"].items()
        }

    def client_memory(self, state: State) -> Tensors:
        return {"rounds": state["memory"]["rounds"] + 1}


def test_a_client_whose_reply_may_not_leave_remembers_nothing_of_the_round(
    data: Path, tmp_path: Path
) -> None:
    """It is in its second round again and again; had it moved on, its third would be sound."""
    run, _ = without_report(
        RunConfig(
            data=f"features:{data}",
            out=str(tmp_path / "run"),
            engine="inline",
            clients=2,
            rounds=4,
            strategy="test_adversity:Diverging",
        )
    )
    failed = [(server_round, client) for server_round, client, _ in run.outcome.failures]
    assert failed == [(server_round, client) for server_round in (2, 3, 4) for client in (0, 1)]


def test_sign_flipping_ruins_the_mean_and_not_the_robust_rules(data: Path, tmp_path: Path) -> None:
    attack = {"attack": "sign-flip", "attackers": 0.3, "byzantine": 0.3}

    def accuracy(strategy: str, **changes: Any) -> float:
        out = tmp_path / f"{strategy}-{len(changes)}"
        return accuracy_of(_simulated(data, out, strategy=strategy, **changes))

    clean = accuracy("fedavg")
    assert clean > 0.85
    assert accuracy("fedavg", **attack) < 0.5
    for robust in ("fedmedian", "fedtrimmedavg", "multikrum", "geomedian"):
        assert accuracy(robust, **attack) > clean - 0.03, robust
