"""A configuration's spellings agree: fields, Flower's defaults, shipped TOML; and what it shows."""

from __future__ import annotations

import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower_processes import PROJECT
from flwr.cli.build import build
from flwr.common.config import flatten_dict, fuse_dicts
from small_federation import block_of
from unreported_run import accuracy_of, without_report

import strategies
from fedtl.comparison.axes import read_vary
from fedtl.comparison.plan import Plan
from fedtl.config import RunConfig
from fedtl.config_file import COMPARE_KEYS, compare_table, from_mapping, from_toml
from fedtl.errors import UsageError
from fedtl.federation.outcome import Outcome
from fedtl.flower_keys import flower_keys
from fedtl.transfer.heads import head_of
from strategies.base.robust import RobustStrategy

SCENARIOS = sorted((PROJECT / "simulations").glob("*.toml"))


def _flower_config() -> dict[str, Any]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    config: dict[str, Any] = content["tool"]["flwr"]["app"]["config"]
    return config


def test_flower_knows_every_key_with_our_default() -> None:
    assert _flower_config() == flower_keys(), "python -m fedtl.flower_keys mends it"


def test_flower_gives_every_value_the_type_we_want() -> None:
    config = _flower_config()
    for key, kind in COMPARE_KEYS.items():
        assert type(config["compare"][key]) is kind, key
    for key, value in RunConfig().to_mapping().items():
        assert type(config[key]) is type(value), key
    assert RunConfig().replace(clients=2).to_mapping().items() <= config.items()


def test_what_is_for_comparisons_changes_no_run(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text('alpha = 0.1\n[compare]\nstrategies = "fedavg,fed3r"\nseeds = 3\ntarget = 1\n')
    assert from_toml(path) == RunConfig(alpha=0.1)
    assert compare_table(path) == {"strategies": "fedavg,fed3r", "seeds": 3, "target": 1.0}
    flat = flatten_dict(tomllib.loads(path.read_text()))
    assert from_mapping(flat, where="Flower's run config") == RunConfig(alpha=0.1)
    path.write_text("alpha = 0.1\n")
    assert compare_table(path) == {}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[compare]\nstrategy = 'x'\n", "in the table [compare] of {}; did you mean 'strategies'?"),
        ("[compare]\nseeds = 'x'\n", "compare.seeds = 'x' in {} is of type str"),
        ("[compare]\nseeds = true\n", "compare.seeds = True in {} is of type bool"),
        ("[compare.vary]\nalpha = 1\n", "{} has a table [compare.vary]"),
        ("compare = 3\n", "compare = 3 in {} is not a table; write [compare]."),
        ("[comparison]\nseeds = 3\n", "{} has a table [comparison]"),
    ],
)
def test_a_wrong_table_is_told(table: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(table)
    with pytest.raises(UsageError) as error:
        from_toml(path)
    assert said.format(path) in str(error.value)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_here_and_for_flower(path: Path) -> None:
    config = from_toml(path)
    flat = flatten_dict(tomllib.loads(path.read_text()))
    fused = fuse_dicts(flatten_dict(_flower_config()), flat)
    clients = config.clients if "clients" in flat else flower_keys()["clients"]
    assert from_mapping(fused, where="Flower's run config") == config.replace(clients=clients)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_says_what_it_shows(path: Path) -> None:
    lines = path.read_text().splitlines()
    comment = [line for line in lines if line.startswith("#")]
    assert 1 <= len(comment) <= 2
    assert lines[: len(comment)] == comment
    assert max(map(len, lines)) <= 100


COMPARED = [path for path in SCENARIOS if compare_table(path)]


def test_the_scenarios_people_expect_can_be_compared() -> None:
    expected = {"label_skew", "pathological", "quantity_skew", "feature_shift", "domains"}
    expected |= {"patients", "partial_participation", "attackers", "heart_disease", "credit"}
    assert {path.stem for path in COMPARED} == expected


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_what_a_scenario_compares_exists_and_is_in_range(path: Path) -> None:
    table = compare_table(path)
    vary = read_vary(str(table.get("vary", "")), ())
    # A plan refuses whatever a comparison could not run: strategies, keys, values.
    plan = Plan(
        base=from_toml(path),
        strategies=tuple(str(table["strategies"]).split(",")),
        seeds=int(table["seeds"]),
        vary=vary,
    )
    for cell in plan.cells():
        built = strategies.build(cell.config, head_of(cell.config, features=1, classes=2))
        if isinstance(built, RobustStrategy):
            clients = cell.config.clients
            assert built.most_hostile(clients) >= int(cell.config.option("byzantine") * clients)


# --- what they show -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight classes that differ in quiet directions of correlated features, with a test split."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 8, 1600)
    x = 0.7 * rng.normal(size=(8, 24))[y] + rng.normal(size=(1600, 24))
    x = (x @ (rng.normal(size=(24, 24)) * np.geomspace(1, 0.03, 24))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, test=np.arange(1600) >= 1000)
    return path


def _simulated(path: Path, out: Path, **changes: Any) -> Outcome:
    """Run a scenario in this process, without a report."""
    config = from_toml(path).replace(engine="inline", out=str(out), **changes)
    run, folder = without_report(config)
    # A scenario's keys go beside those of the test, which may leave some of them unread.
    assert not [told for told in folder.remembered.warnings if not told.endswith("no effect")]
    return run.outcome


def test_a_class_a_client_leaves_fed3r_unharmed_and_not_fedavg(
    features: Path, tmp_path: Path
) -> None:
    scenario = PROJECT / "simulations" / "pathological.toml"
    data = f"features:{features}"
    exact = _simulated(scenario, tmp_path / "fed3r", data=data, strategy="fed3r", held_out=0.0)
    split = json.loads((tmp_path / "fed3r" / "partition.json").read_text())
    parts = [client["train"] for client in split["clients"]]
    with np.load(features) as stored:
        x, y = stored["x"], stored["y"]
    assert [len(set(y[rows])) for rows in parts] == [1] * 10

    (of_all,) = exact.strategy.train_alone(block_of(x, y, [np.arange(1000)], classes=8))
    for name, value in of_all.arrays.items():
        np.testing.assert_allclose(exact.arrays[name], value, rtol=1e-9, atol=1e-12)

    same = tmp_path / "parts.json"
    same.write_text(json.dumps(parts))
    averaged = _simulated(
        scenario, tmp_path / "fedavg", data=data, partition=f"file:{same}", held_out=0.0
    )
    assert accuracy_of(exact) > 0.8
    assert accuracy_of(averaged) < accuracy_of(exact) - 0.15


def test_attackers_ruin_the_mean_and_not_a_robust_rule(features: Path, tmp_path: Path) -> None:
    scenario = PROJECT / "simulations" / "attackers.toml"
    split = tmp_path / "parts.json"
    split.write_text(json.dumps([list(range(client, 1000, 15)) for client in range(15)]))
    accuracy = {
        strategy: accuracy_of(
            _simulated(
                scenario,
                tmp_path / strategy,
                data=f"features:{features}",
                partition=f"file:{split}",
                strategy=strategy,
            )
        )
        for strategy in ("fedavg", "multikrum")
    }
    assert accuracy["multikrum"] > accuracy["fedavg"] + 0.3


def test_a_scenario_of_pictures_runs_from_rendering_to_scores(tmp_path: Path) -> None:
    outcome = _simulated(
        PROJECT / "simulations" / "feature_shift.toml",
        tmp_path / "run",
        hospitals_images=120,
        hospitals_test_images=20,
        hospitals_size=32,
        cache=str(tmp_path / "cache"),
        rounds=1,
    )
    assert sorted(outcome.federated) == [0, 1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pathspec")
def test_a_bundle_is_thin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``flwr build`` makes it, which as a command would import all that is imported here."""
    monkeypatch.chdir(tmp_path)
    build(app=PROJECT)
    (bundle,) = tmp_path.glob("*.fab")
    names = {name for name in zipfile.ZipFile(bundle).namelist() if not name.startswith(".")}
    assert names == {
        "pyproject.toml",
        "simulations/__init__.py",
        "simulations/client_app.py",
        "simulations/server_app.py",
        *(f"simulations/{path.name}" for path in SCENARIOS),
    }
