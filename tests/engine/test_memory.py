"""A run's memory: of all its processes together, and pages that they share counted once."""

from __future__ import annotations

import mmap
import multiprocessing
import resource
import sys
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from fedtl.engine.memory import MemoryWatch

MIB = 2**20


def _hold(shared: mmap.mmap, held: Event, enough: Event) -> None:
    # Written in place: whether memory of a value that is gone goes back depends on what ran before.
    own = bytearray(64 * MIB)
    own[::4096] = b"x" * (64 * MIB // 4096)
    assert sum(shared[::4096]) == 64 * MIB // 4096 * ord("s")
    held.set()
    enough.wait(30)
    assert own


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell of one process alone")
def test_children_count_and_shared_pages_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtl.engine.memory._PROC", Path("/proc"))
    shared = mmap.mmap(-1, 64 * MIB)
    shared.write(b"s" * 64 * MIB)
    before = MemoryWatch()
    before.sample()
    # A forked child shares the map; it runs nothing that could wait for a lock.
    context = multiprocessing.get_context("fork")
    held, enough = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(shared, held, enough))
    child.start()
    try:
        assert held.wait(30)
        during = MemoryWatch()
        during.sample()
    finally:
        enough.set()
        child.join()
    assert child.exitcode == 0
    grown = during.peak_mb - before.peak_mb
    assert 60 < grown < 110, "64 MiB of the child's own; its 64 MiB of ours were counted before"
    during.sample()
    assert during.peak_mb - before.peak_mb == grown, "the largest is remembered"


def test_elsewhere_this_process_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtl.engine.memory._PROC", Path("nowhere"))
    watch = MemoryWatch()
    watch.sample()
    expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert watch.peak_mb == pytest.approx(expected, rel=0.05)
