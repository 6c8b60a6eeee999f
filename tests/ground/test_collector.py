"""A command looks seldom for cyclic garbage; a process that is somebody else's, as ever."""

from __future__ import annotations

import gc

import pytest
from in_process import finished

from fedtl import RunConfig, simulate
from fedtl.collector import collector_paused


def test_a_command_looks_seldom_and_the_api_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: told.append(numbers))
    with pytest.raises(Exception, match="clients = 0"):
        simulate(RunConfig(), clients=0)
    assert told == []
    assert finished(simulate.main, "--version").exit_code == 0
    ((first, *_),) = told
    assert first >= 10_000


def test_the_collector_is_paused_in_a_block_and_then_as_it_was() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
