"""The three spellings of a configuration agree: fields, pyproject's defaults, the shipped TOML."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from flower_processes import PROJECT, environment
from flwr.common.config import flatten_dict

from fedtl.config import RunConfig
from fedtl.config_file import COMPARE_KEYS, compare_table, from_mapping, from_toml
from fedtl.errors import UsageError

SCENARIOS = sorted((PROJECT / "simulations").glob("*.toml"))
# Flower's simulation has two clients unless told otherwise.
DIFFERENT_UNDER_FLOWER = {"clients": 2}


def _flower_config() -> dict[str, Any]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    config: dict[str, Any] = content["tool"]["flwr"]["app"]["config"]
    return config


def test_flower_knows_every_key_with_our_default() -> None:
    config = _flower_config()
    assert config.pop("compare").keys() == COMPARE_KEYS.keys()
    assert config == RunConfig().to_mapping() | DIFFERENT_UNDER_FLOWER


def test_flower_gives_every_value_the_type_we_want() -> None:
    config = _flower_config()
    for key, kind in COMPARE_KEYS.items():
        assert type(config["compare"][key]) is kind, key
    for key, value in RunConfig().to_mapping().items():
        assert type(config[key]) is type(value), key


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
        ("compare = 3\n", "compare = 3 in {} is no table; write [compare]."),
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
    from_toml(path)
    values = tomllib.loads(path.read_text())
    assert set(values) <= set(RunConfig().to_mapping())
    from_mapping(RunConfig().to_mapping() | values, where=path.name)


def test_a_bundle_is_thin(tmp_path: Path) -> None:
    subprocess.run(
        ["flwr", "build", "--app", str(PROJECT)],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        check=True,
        capture_output=True,
    )
    (bundle,) = tmp_path.glob("*.fab")
    names = {name for name in zipfile.ZipFile(bundle).namelist() if not name.startswith(".")}
    assert names == {
        "pyproject.toml",
        "simulations/__init__.py",
        "simulations/client_app.py",
        "simulations/server_app.py",
        *(f"simulations/{path.name}" for path in SCENARIOS),
    }
