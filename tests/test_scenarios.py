"""The three spellings of a configuration agree: fields, pyproject's defaults, the shipped TOML."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from flower_processes import PROJECT, environment

from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml

SCENARIOS = sorted((PROJECT / "simulations").glob("*.toml"))
# Flower's simulation has two clients unless told otherwise.
DIFFERENT_UNDER_FLOWER = {"clients": 2}


def _flower_app() -> dict[str, object]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    app: dict[str, object] = content["tool"]["flwr"]["app"]
    return app


def test_flower_knows_every_key_with_our_default() -> None:
    assert _flower_app()["config"] == RunConfig().to_mapping() | DIFFERENT_UNDER_FLOWER


def test_flower_gives_every_value_the_type_we_want() -> None:
    config = _flower_app()["config"]
    assert isinstance(config, dict)
    for key, value in RunConfig().to_mapping().items():
        assert type(config[key]) is type(value), key


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
