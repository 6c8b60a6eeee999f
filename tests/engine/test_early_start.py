"""Ray's first process is begun early, taken by whoever starts Ray, and never left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import complaint

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.engine import early_start
from fedtl.engine.early_start import (
    begin_early,
    forget,
    machine_options,
    session_options,
    taken,
)
from fedtl.engine.resources import Resources
from fedtl.errors import FedtlError


class Head:
    """In place of a process."""

    def __init__(self, address: str, options: dict[str, Any], actors: int) -> None:
        self.options, self.actors, self.stopped = options, actors, False
        made.append(self)

    def stop(self) -> None:
        self.stopped = True


made: list[Head] = []
RAY = RunConfig(engine="ray", clients=3)


@pytest.fixture(autouse=True)
def _heads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made.clear()
    monkeypatch.setattr(early_start, "RayHead", Head)
    monkeypatch.setattr(early_start, "_DRIVER", Path("nowhere"))
    monkeypatch.setattr(early_start, "usable_cpus", lambda: 2)
    yield
    forget()


def test_who_starts_ray_for_the_same_takes_it_once() -> None:
    begin_early(RAY)
    options = session_options() | machine_options(Resources(2.0, 0.0))
    assert taken(options, 1) is None
    assert taken(options | {"num_cpus": 1}, 2) is None
    assert taken(options, 2) is made[0]  # type: ignore[comparison-overlap]
    assert taken(options, 2) is None
    forget()
    assert not made[0].stopped


def test_what_nobody_takes_is_ended() -> None:
    begin_early(RAY)
    begin_early(RAY)
    forget()
    assert [head.stopped for head in made] == [True, True]


@pytest.mark.parametrize(
    "changes",
    [{"engine": "inline"}, {"ray_address": "10.0.0.1:6379"}, {"client_gpus": 0.5}],
)
def test_it_is_begun_only_if_it_will_be_needed_as_it_is(changes: dict[str, Any]) -> None:
    begin_early(RAY.replace(**changes))
    assert made == []


def test_where_there_may_be_gpus_pytorch_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(early_start, "_DRIVER", tmp_path)
    begin_early(RAY)
    assert made == []


def test_what_is_wrong_is_told_by_whoever_starts_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise FedtlError("There is no memory.")

    monkeypatch.setattr(early_start, "RayHead", full)
    begin_early(RAY)
    begin_early(RAY.replace(client_cpus=64.0))


@pytest.mark.parametrize("at", ["config.toml", "data"])
def test_a_command_that_fails_leaves_none(at: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    flags = ["--clients", "3", "--out", tmp_path / "run"]
    if at == "config.toml":
        (tmp_path / "run" / at).write_text("clients = 3\n")
    else:
        flags += ["--strategy", "fed3r", "--head", "mlp"]
    complaint(simulate.main, *flags)
    assert [head.stopped for head in made] == [True]


def test_a_command_ends_at_once_and_says_all_it_had_to_say() -> None:
    code = (
        "import atexit, threading, time\n"
        "from fedtl.command_line import leave\n"
        "atexit.register(print, 'exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print('main')\nleave()\nprint('never')"
    )
    end = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (end.returncode, end.stdout.split()) == (0, ["main", "thread", "exit"])
