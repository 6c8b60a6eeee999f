"""What nobody foresaw, as it is told and written down: whole enough, and never too much."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import strategies
from fedtl.fault import Fault, Kept
from fedtl.unforeseen import ErrorLog
from fedtl.user_code import importing, is_own


def fault_of(raising: Callable[[], object]) -> Fault:
    try:
        raising()
    except Exception as error:
        return Fault.of(error)
    raise AssertionError("nothing was raised")


def here(offset: int) -> str:
    return f"{__file__}, line {offset}"


def test_a_fault_survives_its_journey_as_a_text() -> None:
    def raising() -> None:
        raise ValueError("first\nsecond\x1b[31m.")

    fault = fault_of(raising)
    place = here(raising.__code__.co_firstlineno + 1)
    assert fault.sentence == f"ValueError: first ({place})"
    assert fault.kind == f"ValueError at {place}"
    assert "second\N{REPLACEMENT CHARACTER}[31m." in fault.traceback
    assert fault.traceback.startswith("Traceback (most recent call last):\n")
    assert Fault.read(fault.text) == fault
    assert Fault.read("ValueError: first\nsecond") is None


def test_the_innermost_line_of_the_users_own_is_named_and_not_a_librarys() -> None:
    def raising() -> None:
        json.loads("{")

    place = here(raising.__code__.co_firstlineno + 1)
    assert fault_of(raising).sentence.endswith(f" ({place})")
    assert Fault.of(KeyError("never raised")).sentence == "KeyError: 'never raised'"
    assert not is_own(json.__file__, "json") and not is_own("<string>", "x")
    assert not is_own(np.__file__, "numpy") and is_own(__file__, "x")


def test_an_installed_class_is_the_users_own_if_a_configuration_names_it() -> None:
    file = str(Path(sysconfig.get_path("purelib")) / "a_plugin_of_mine" / "methods.py")
    assert not is_own(file, "a_plugin_of_mine.methods")
    with importing("a_plugin_of_mine.methods:Mine"):
        pass
    assert is_own(file, "a_plugin_of_mine.methods")
    with importing("strategies.fedavg:STRATEGY"):
        pass
    # Where it is installed, which may be elsewhere than here.
    shipped = Path(strategies.__path__[0]) / "fedavg.py"
    assert not is_own(str(shipped), "strategies.fedavg")


class EndlessError(Exception):
    def __str__(self) -> str:
        return "x" * 5_000_000


def _there(depth: int) -> None:
    _back(depth) if depth else json.loads("no")


def _back(depth: int) -> None:
    _there(depth - 1)


def _many_lines() -> None:
    raise RuntimeError("line\n" * 1_000_000)


def _endless() -> None:
    raise EndlessError


def _unsayable() -> None:
    class UnsayableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    raise UnsayableError


def _noted() -> None:
    error = RuntimeError("noted")
    for _ in range(10_000):
        error.add_note("n" * 2000)
    raise error


@pytest.mark.parametrize(
    "raising",
    [lambda: _there(400), _many_lines, _endless, _unsayable, _noted],
    ids=["deep", "many lines", "endless", "unsayable", "noted"],
)
def test_no_error_is_too_large(raising: Callable[[], None]) -> None:
    fault = fault_of(raising)
    assert len(fault.traceback) <= 43_000
    assert len(fault.sentence) < 1000 and "\n" not in fault.sentence
    assert fault.traceback.startswith("Traceback (most recent call last):")
    assert "in fault_of" in fault.traceback, "where it begins"


def test_where_a_deep_error_arose_is_kept() -> None:
    fault = fault_of(lambda: _there(400))
    assert "JSONDecodeError" in fault.traceback.splitlines()[-1]
    assert "parts are left out" in fault.traceback


def test_a_log_holds_a_few_of_every_kind_and_tells_the_first(tmp_path: Path) -> None:
    log = ErrorLog(tmp_path)
    told = []
    for at in range(1000):
        fault = Fault("E: it broke", f"E at line {at % 250}", f"Traceback {at % 250}\n")
        told.append(log.enter(f"Round {at}", fault))
    first = [text for text in told if text]
    # A hundred kinds are told apart, and all others are one.
    assert first == told[:101]
    assert first[7] == (
        f"Round 7: E: it broke; the traceback is in {tmp_path / 'errors.log'}; "
        "further errors of this kind are not shown"
    )
    written = (tmp_path / "errors.log").read_text()
    assert written.count("Traceback 7\n") == 3
    assert written.count("are not written.") == 101
    assert written.count("Traceback") == 3 * 101


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    told = ErrorLog(tmp_path / "gone").enter("Round 1", Fault("E", "E at 1", "Traceback\n"))
    assert told == "Round 1: E; the traceback could not be written (No such file or directory)"


def test_a_few_of_every_kind_travel() -> None:
    kept = Kept()
    for at in range(20):
        kept.enter(f"client {at}", Fault("E", f"kind {at % 2}", ""))
    assert [where for where, _ in kept.faults] == [f"client {at}" for at in range(6)]
