"""A start from a closed-form head: the same predictions in other coordinates, then training."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import MetricRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from small_federation import block_of
from unreported_run import Simulated, accuracy_of, resumed, without_report

import strategies
from fedtl.config import RunConfig
from fedtl.errors import FedtlError, UsageError
from fedtl.federation import server
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import RoundScore
from fedtl.federation.outcome import Outcome
from fedtl.observers.run_folder import RunFolder
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import head_of
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import Arrays, ClosedFormStrategy
from strategies.base.coordinates import WARM_TEMPERATURE, in_standardised

LOADED = {name: strategies.load(name) for name in strategies.available()}
CLOSED = [
    name
    for name, found in LOADED.items()
    # Features without a network have no text tower: see test_zero_shot.py.
    if issubclass(found, ClosedFormStrategy) and not (found.own_start or found.takes_texts)
]
# fedper needs a head of two layers, and a closed form gives one.
TRAINED = [
    name
    for name, found in LOADED.items()
    if not (found.one_round or found.own_start) and name != "fedper"
]


def _features(rows: int, width: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return features of unlike means and scales, every fourth constant."""
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(rows, width)) * 10.0 ** draws.uniform(-2, 2, width)
    x += draws.uniform(-5, 5, width)
    x[:, 3::4] = 0.1
    return x.astype(np.float32)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 9), st.sampled_from([0.1, 1.0, 3.0]), st.integers(0, 99))
def test_the_head_in_other_coordinates_has_the_same_logits(
    rows: int, width: int, temperature: float, seed: int
) -> None:
    x = _features(rows, width, seed)
    draws = np.random.default_rng(seed)
    head: Arrays = {"weight": draws.normal(size=(3, width)), "bias": draws.normal(size=3)}
    own = Standardisation.from_moments(Moments.of(torch.from_numpy(x), np.arange(rows)))
    start = in_standardised(head, own, temperature)
    assert {value.dtype for value in start.values()} == {np.dtype(np.float32)}
    z = (x.astype(np.float64) - own.mean) * own.scale
    expected = (x.astype(np.float64) @ head["weight"].T + head["bias"]) / temperature
    size = np.abs(x) @ np.abs(head["weight"].T) / temperature + 1
    assert (np.abs(z @ start["weight"].T + start["bias"] - expected) <= 1e-5 * size).all()
    assert (start["weight"][:, own.scale == 0] == 0).all()


def test_a_start_has_the_temperature_of_its_form_unless_told_otherwise() -> None:
    assert RunConfig().init_temperature == 0
    for name, expected in {"fed3r": WARM_TEMPERATURE, "fedcgs": 1.0}.items():
        head = head_of(RunConfig(), features=3, classes=2)
        started = strategies.build(RunConfig(init=name), head).starter
        assert started is not None
        assert started.start_temperature == expected
        own = strategies.build(RunConfig(init=name, init_temperature=0.3), head).starter
        assert own is not None
        assert own.start_temperature == 0.3
    assert RunConfig().settled().init == "none"


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    x = 1.2 * rng.normal(size=(4, 12))[y] + rng.normal(size=(600, 12))
    x = (x * 10.0 ** rng.uniform(-1, 1, 12) + rng.uniform(-9, 9, 12)).astype(np.float32)
    x[:, 5] = 3.3
    path = tmp_path_factory.mktemp("data") / "features.npz"
    # Each site but the first has most of one class.
    site = np.where(rng.random(600) < 0.6, (y + 1) % 5, rng.integers(0, 5, 600))
    np.savez(path, x=x, y=y, site=site, test=np.arange(600) >= 400)
    return path


def _simulated(data: Path, out: Path, **changes: Any) -> tuple[Simulated, RunFolder]:
    plain: dict[str, Any] = {
        "partition": "natural",
        "engine": "inline",
        "rounds": 2,
        "init": "fed3r",
    }
    return without_report(RunConfig(data=f"features:{data}", out=str(out), **(plain | changes)))


@pytest.fixture(scope="module")
def closed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Fed3R's own run."""
    out = tmp_path_factory.mktemp("closed") / "run"
    return _simulated(data, out, strategy="fed3r", init="none", own_data_rows="held-out")[0].outcome


def test_training_starts_where_the_closed_form_ends(
    data: Path, closed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores: list[RoundScore] = []

    class Recorded(RoundScore):
        @classmethod
        def read(cls, metrics: MetricRecord) -> RoundScore:
            scores.append(RoundScore.read(metrics))
            return scores[-1]

    monkeypatch.setattr(server, "RoundScore", Recorded)
    simulated, folder = _simulated(data, tmp_path / "run")
    for at, client in closed.federated.items():
        assert scores[at].accuracy == client.held_out.accuracy
        assert scores[at].held_out == client.held_out.total
    assert not folder.remembered.warnings
    assert simulated.outcome.rounds == 2


def test_a_step_of_no_length_leaves_the_closed_form(
    data: Path, closed: Outcome, tmp_path: Path
) -> None:
    simulated, _ = _simulated(data, tmp_path / "run", learning_rate=1e-12, rounds=1)
    start, standardisation = simulated.outcome.arrays, simulated.outcome.standardisation
    assert standardisation is not None
    x = np.load(data)["x"].astype(np.float64)
    z = (x - standardisation.mean) * standardisation.scale
    expected = x @ closed.arrays["weight"].T + closed.arrays["bias"]
    np.testing.assert_allclose(
        z @ start["weight"].T + start["bias"], expected / 0.1, rtol=1e-5, atol=1e-4
    )
    assert accuracy_of(simulated.outcome) == accuracy_of(closed)


def test_the_statistics_are_on_the_ledger(data: Path, tmp_path: Path) -> None:
    simulated, folder = _simulated(data, tmp_path / "run")
    with (folder.path / "egress.csv").open() as file:
        lines = list(csv.DictReader(file))
    sent = [line for line in lines if line["record"] == "statistics"]
    assert [(line["round"], line["client"], line["direction"]) for line in sent] == [
        ("0", str(client), "up") for client in range(5)
    ]
    assert {line["shape"] for line in sent} == {f"gram[{13 * 14 // 2}] class-sums[13×4]"}
    up = sum(int(line["bytes"]) for line in lines if line["direction"] == "up")
    assert simulated.outcome.bytes_up == up


def test_every_closed_form_can_be_the_start_of_every_way_to_train(
    data: Path, tmp_path: Path
) -> None:
    for at, strategy in enumerate(TRAINED):
        init = CLOSED[at % len(CLOSED)]
        simulated, folder = _simulated(
            data, tmp_path / strategy, strategy=strategy, init=init, rounds=1, byzantine=0.0
        )
        expected = re.compile(
            r".* no effect|\w+ tolerates no hostile client, because byzantine = 0.*"
        )
        assert not [told for told in folder.remembered.warnings if not expected.fullmatch(told)], (
            strategy
        )
        assert accuracy_of(simulated.outcome) > 0.5, (strategy, init)


@pytest.mark.parametrize("cut_off", [1, 2])
def test_a_resumed_run_starts_again_only_where_it_had_not_begun(
    cut_off: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = _simulated(data, tmp_path / "whole")

    def keep(folder: RunFolder, checkpoint: Checkpoint) -> None:
        if checkpoint.server_round == cut_off:
            raise KeyboardInterrupt
        write(folder, checkpoint)

    write = RunFolder.checkpoint
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "checkpoint", keep)
        _simulated(data, tmp_path / "run")
    outcome, checkpoint = resumed(tmp_path / "run")
    assert (checkpoint is None) == (cut_off == 1)
    for name, value in whole.outcome.arrays.items():
        assert outcome.arrays[name].tobytes() == value.tobytes()
    assert outcome.bytes_up == whole.outcome.bytes_up
    ledgers = [(tmp_path / run / "egress.csv").read_text() for run in ("whole", "run")]
    assert ledgers[0] == ledgers[1]


def test_nobody_drops_out_of_the_start_and_the_hostile_spoil_it(
    data: Path, closed: Outcome, tmp_path: Path
) -> None:
    flat: dict[str, Any] = {"learning_rate": 1e-12, "rounds": 1}
    whole, _ = _simulated(data, tmp_path / "whole", **flat)
    missing, folder = _simulated(data, tmp_path / "missing", dropout=0.5, **flat)
    assert {failed for failed, *_ in missing.outcome.failures} == {1}
    assert not folder.remembered.warnings
    for name, value in whole.outcome.arrays.items():
        np.testing.assert_allclose(missing.outcome.arrays[name], value, rtol=1e-6)
    hostile, _ = _simulated(data, tmp_path / "hostile", attack="label-flip", attackers=0.6, **flat)
    assert accuracy_of(hostile.outcome) < accuracy_of(whole.outcome) - 0.2


def test_a_client_in_trouble_costs_its_own_statistics(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed3r = strategies.load("fed3r")
    statistics = fed3r.client_statistics  # type: ignore[attr-defined]

    def poisoned(self: Any, block: ClientBlock, client: int) -> Arrays:
        found: Arrays = statistics(self, block, client)
        if block.partition_ids[client] in troubled:
            found["gram"][0] = np.nan
        return found

    monkeypatch.setattr(fed3r, "client_statistics", poisoned)
    troubled = {1}
    simulated, _ = _simulated(data, tmp_path / "run")
    assert simulated.outcome.failures == [(0, 1, "'gram' in 'statistics' is not finite")]
    troubled = set(range(5))
    with pytest.raises(FedtlError, match=r"No client sent statistics for fed3r: 'gram' in"):
        _simulated(data, tmp_path / "none")


def test_alone_a_client_starts_from_its_own_closed_form(data: Path) -> None:
    with np.load(data) as stored:
        x, y = stored["x"], stored["y"]
    config = RunConfig(init="fed3r", learning_rate=1e-12, rounds=1)
    head = head_of(config, features=12, classes=4)
    block = block_of(x, y, [np.arange(7), np.arange(7, 300)], classes=4)
    with torch.inference_mode():
        alone = strategies.build(config, head).train_alone(block)
        solved = strategies.load("fed3r")(config, head).train_alone(block)
    for mine, own in zip(alone, solved, strict=True):
        z = mine.standardisation.apply(torch.from_numpy(x)).double().numpy()
        expected = x.astype(np.float64) @ own.arrays["weight"].T + own.arrays["bias"]
        logits = z @ mine.arrays["weight"].T + mine.arrays["bias"]
        np.testing.assert_allclose(logits, expected / 0.1, rtol=1e-4, atol=1e-3)


def test_lone_heads_are_shared_only_where_the_start_is_the_same() -> None:
    head = head_of(RunConfig(), features=3, classes=2)
    starts: list[dict[str, Any]] = [
        {},
        {"init": "fed3r"},
        {"init": "fed3r", "init_temperature": 0.2},
        {"init": "fed3r", "ridge_penalty": 7.0},
        {"init": "fedcgs"},
    ]
    for one in starts:
        for other in starts:
            keys = [strategies.build(RunConfig(**start), head).alone_key for start in (one, other)]
            assert (keys[0] == keys[1]) == (one == other)
    warm = [RunConfig(strategy=name, init="fed3r") for name in ("fedprox", "scaffold")]
    assert len({strategies.build(config, head).alone_key for config in warm}) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init": "fed3"}, "init = 'fed3' is not known; did you mean 'fed3r'? It is one of afl, "),
        ({"init": ""}, "init = '' is not known. It is one of afl, "),
        ({"init": "fedprox"}, "init = 'fedprox' is not a closed form. It is one of afl, "),
        ({"init": "fed3r", "strategy": "afl"}, "strategy = 'afl' does not train in rounds; use"),
        ({"init": "fed3r", "strategy": "fedpft"}, "'fedpft' does not train in rounds; use"),
        ({"init": "fed3r", "head": "mlp"}, "a linear head, but head = 'mlp'; use head = 'linear'"),
        ({"init": "fed3r", "head": "cosine"}, "but head = 'cosine'; use head = 'linear'"),
        ({"init": "nowhere:Mine"}, "'nowhere:Mine' cannot be loaded"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(
    changes: dict[str, Any], said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtl.runs.simulated_clients.open_data", None)
    with pytest.raises(UsageError) as error:
        _simulated(data, tmp_path / "run", **changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
