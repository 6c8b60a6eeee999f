"""No change to how the house is built changes a byte of any head: these are on record.

``pytest tests/system/test_recorded_heads.py --ways inline,ray-1,ray-2,ray-3,flwr-run,sites`` tries
every way to run, which takes an hour; without it, one federation is run in this process. With
``--record`` the heads are written down instead.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from recorded_runs import Configuration, Ways, runs

FILE = Path(__file__).with_name("recorded_heads.toml")
# At real sites and in Flower's simulation nothing goes wrong on purpose.
SIMULATED = ("label-flip", "sign-flip", "noise", "scale")


def machine() -> str:
    """Return a digest of versions, and of sums, as heads of others differ in their last bits."""
    capability = torch.backends.cpu.get_cpu_capability()
    digest = hashlib.sha256(f"{torch.__version__} {np.__version__} {capability}".encode())
    draws = torch.Generator().manual_seed(0)
    a, b = (torch.randn(96, 96, generator=draws) for _ in range(2))
    found = [a @ b, torch.exp(a), torch.linalg.eigh((a @ a.T).double()).eigenvectors]
    found.append(torch.nn.functional.conv2d(a[None, None], b[None, None, :5, :5]))
    for value in found:
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = metafunc.config.getoption("ways")
    tried = [
        pytest.param(way, *run, id=f"{way}-{run[0]}-{run[1]}")
        for way in (asked or "inline").split(",")
        for run in runs()
        if asked or run[0] == "features"
        if way in ("inline", "ray-1", "ray-2", "ray-3") or run[1] not in SIMULATED
    ]
    metafunc.parametrize(("way", "federation", "name", "config"), tried)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with ExitStack() as stack:
        yield Ways(tmp_path_factory.mktemp("heads"), stack)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    table = tomllib.loads(FILE.read_text())
    if table["machine"] != machine():
        pytest.skip("the heads on record are of another kind of CPU, PyTorch or NumPy")
    return table


def test_the_head_is_the_one_on_record(
    way: str,
    federation: str,
    name: str,
    config: Configuration,
    ways: Ways,
    request: pytest.FixtureRequest,
) -> None:
    if way.startswith("ray"):
        request.getfixturevalue("shared_ray")
    if request.config.getoption("record"):
        table = tomllib.loads(FILE.read_text()) if FILE.exists() else {}
        table["machine"] = machine()
        table.setdefault(federation, {})[name] = ways.run(way, federation, config)
        FILE.write_text(tomli_w.dumps(table))
        return
    recorded = request.getfixturevalue("recorded")
    assert ways.run(way, federation, config) == recorded[federation][name]
