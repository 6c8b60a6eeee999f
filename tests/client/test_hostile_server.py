"""A hostile server on loopback: what it asks of a real site's process, and what that then does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import audited_site
import numpy as np
import pytest
from PIL import Image

from fedtl.client.run_keys import FOLLOWED, SERVERS_OWN
from fedtl.config import RunConfig
from fedtl.config_keys.every import rules
from fedtl.known_options import shipped_options
from fedtl.messages import phases

# Options of strategies, backbones and heads are followed, within their limits.
OPTIONS = {
    key: known.option for key, known in shipped_options().items() if known.key not in FOLLOWED
}
DEFAULTS = RunConfig().to_mapping() | {key: option.default for key, option in OPTIONS.items()}
KINDS = (phases.HANDSHAKE, phases.MOMENTS, phases.INIT, phases.TRAIN, phases.EVALUATE)
Ask = Callable[[str, dict[str, Any]], tuple[str | None, list[str], list[str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site has, and what lies beside it for a server to take."""
    root = tmp_path_factory.mktemp("site")
    draws = np.random.default_rng(0)
    np.savez(root / "private.npz", x=draws.normal(size=(60, 4)), y=np.arange(60) % 2)
    for name in ("a", "b"):
        (root / "own" / name).mkdir(parents=True)
        for number in range(6):
            pixels = draws.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "own" / name / f"{number}.png")
    (root / "hostile_module.py").write_text("from strategies.fedavg import STRATEGY as Strategy")
    return root


@pytest.fixture(scope="module")
def ask(folder: Path) -> Iterator[Ask]:
    """Ask the site's process something.

    Returns the reason of a refusal, what it did, and which modules it has loaded.
    """
    node = {"partition-id": 0, "num-partitions": 2, "data": str(folder / "own")}
    node["cache"] = str(folder / "cache")
    (folder / "cache").mkdir()
    program = audited_site.__file__
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, program, str(listener.getsockname()[1]), json.dumps(node)]
        site = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, cwd=folder)
        listener.settimeout(60)
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as lines:

            def asked(kind: str, run: dict[str, Any]) -> tuple[str | None, list[str], list[str]]:
                lines.write(json.dumps([kind, {**DEFAULTS, **run}]) + "\n")
                lines.flush()
                told, events, loaded = json.loads(lines.readline())
                return told, events, loaded

            yield asked
        site.wait(20)


def _wanted(key: str, folder: Path) -> Any:
    """Return what a hostile server would set a key to."""
    there = {
        "data": f"features:{folder / 'private.npz'}",
        "weights": str(folder / "private.npz"),
        "cache": str(folder / "new"),
        "labels": str(folder / "labels.csv"),
        "partition": f"file:{folder / 'private.npz'}",
        "no-cache": True,
    }
    default, rule = DEFAULTS[key], OPTIONS[key].rule if key in OPTIONS else rules()[key]
    if key in there:
        return there[key]
    if rule.choices:
        return next(choice for choice in rule.choices if choice != default)
    if isinstance(default, str):
        return str(folder)
    return default + 1 if isinstance(default, int) else default * 0.9 or 0.1


def _besides_ledger(events: list[str], folder: Path) -> list[str]:
    """Return what the site did but for entering the message in its own ledger."""
    ledger = f"'{folder / 'cache' / 'ledger'}"
    entered = [event for event in events if ledger in event or event.startswith("fcntl.flock (")]
    assert any(event.startswith(f"open ({ledger}/ledger.csv'") for event in entered)
    return [event for event in events if event not in entered]


REFUSED = sorted(DEFAULTS.keys() - FOLLOWED.keys() - SERVERS_OWN)


@pytest.mark.parametrize("key", REFUSED)
def test_each_key_is_refused_and_nothing_happens(key: str, ask: Ask, folder: Path) -> None:
    kind = KINDS[REFUSED.index(key) % len(KINDS)]
    told, events, _ = ask(kind, {key: _wanted(key, folder)})
    assert told is not None and told.startswith(f"This site refuses {key}")
    assert _besides_ledger(events, folder) == []
    assert str(folder) not in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "run",
    [
        {"strategy": "hostile_module:Strategy"},
        {"init": "hostile_module:Strategy"},
        *(
            {key: "hostile_module:Strategy"}
            for key in ("head", "backbone", "data", "partition", "attack")
        ),
        {"strategy": "os:system"},
        {"strategy": "hostile_module"},
        {"backbone": "resnet18"},
        {"local-epochs": 10_000},
        {"window": "4 5 6"},
        {"rounds": "many"},
        {"new-key": "x"},
    ],
    ids=str,
)
def test_no_value_makes_it_import_or_fetch(
    run: dict[str, Any], kind: str, ask: Ask, folder: Path
) -> None:
    told, events, _ = ask(kind, run)
    assert told is not None and told.startswith("This site ")
    assert _besides_ledger(events, folder) == []


def test_the_witness_sees_what_an_honest_server_has_done(ask: Ask, folder: Path) -> None:
    told, events, loaded = ask(phases.HANDSHAKE, {"strategy": "fed3r"})
    assert told is None
    assert {"fedtl.client.answers", "fedtl.client.ledger", "fedtl.client.release"} <= set(loaded)
    rooms = {name.split(".")[1] for name in loaded}
    assert not rooms & {"scenario", "federation", "runs", "comparison", "report"}
    opened = "\n".join(event for event in events if event.startswith("open "))
    assert "own/a/0.png" in opened and str(folder / "cache") in opened
    assert "private" not in opened
    written = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert written == {"own", "private.npz", "hostile_module.py", "cache"}
