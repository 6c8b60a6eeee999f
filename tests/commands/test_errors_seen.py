"""What a client or a strategy raises: told with its place, written down whole, and survived."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from in_process import Finished, finished
from own_process import run_module
from own_strategies import place_of, write_strategies

from fedtl import compare, simulate
from fedtl.engine.fedtl_clients import FedtlClients

CLIENTS, ROUNDS = 4, 5
QUICK = ("--clients", CLIENTS, "--rounds", ROUNDS, "--partition", "iid", "--no-cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y = np.arange(90) % 3
    x = (np.random.default_rng(0).normal(size=(90, 4)) + np.eye(3, 4)[y]).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, site=np.arange(90) // 30)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's own file, importable here and in actors."""
    path = write_strategies(tmp_path_factory.mktemp("own"), "buggy")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        yield path


def run(data: Path, out: Path, strategy: str, *flags: object) -> Finished:
    given = ("--data", f"features:{data}", "--out", out, "--strategy", f"buggy:{strategy}")
    return finished(simulate.main, *given, *QUICK, *flags)


def warnings_of(end: Finished) -> list[str]:
    lines = [line for line in end.stderr.splitlines() if line.startswith("warning: ")]
    return [line.removeprefix("warning: ") for line in lines]


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_clients_error_is_told_once_and_written_down_and_costs_that_client(
    engine: str, data: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    end = run(data, out, "InClient", "--engine", engine)
    assert end.exit_code == 0, end.stderr
    sentence = f"ZeroDivisionError: division by zero ({place_of(source, 'client')})"
    log = out / "errors.log"
    told = [text for text in warnings_of(end) if "division" in text]
    assert told == [
        f"Round 1, client 1: {sentence}; the traceback is in {log}; "
        "further errors of this kind are not shown"
    ]
    written = log.read_text()
    assert written.count("Traceback (most recent call last):") == 3
    assert written.count("share = 1 / 0  # bug of the client") == 3
    assert f" Round 3, client 1: {sentence}\n" in written
    assert "Round 4" not in written and "not written" in written
    failures = json.loads((out / "summary.json").read_text())["failures"]
    assert [(one["round"], one["client"], one["reason"]) for one in failures] == [
        (at, 1, sentence) for at in range(1, ROUNDS + 1)
    ]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    failed = [{"client": 1, "reason": sentence, "intended": False}]
    assert [row["failed"] for row in rows] == [failed] * ROUNDS


def test_the_servers_half_names_its_place_and_ends_the_run(
    data: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    end = run(data, out, "InServer", "--engine", "inline")
    assert end.exit_code == 1
    assert end.stderr.splitlines()[-1] == (
        f"error: KeyError: 'lost' ({place_of(source, 'server')}); that is your own code: correct "
        f"it there, or use --engine debug to see more (the traceback is in {out / 'errors.log'})."
    )
    assert 'head = head["lost"]  # bug of the server' in (out / "errors.log").read_text()


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_comparison_tells_each_kind_once_and_goes_on(
    engine: str, data: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "compared"
    tune = ("--tune", 1) if engine == "inline" else ()
    names = "fedavg,buggy:InClient,buggy:InServer"
    given = ("--data", f"features:{data}", "--strategies", names, "--out", out, "--seeds", 2)
    end = finished(compare.main, *given, *QUICK, *tune, "--engine", engine)
    assert end.exit_code == 0, end.stderr
    log, told = out / "errors.log", [text for text in warnings_of(end) if "Error" in text]
    for half, said in (("client", ", round 1, client 1: Zero"), ("server", ": KeyError: 'lost'")):
        [text] = [text for text in told if place_of(source, half) in text]
        assert said in text and f"the traceback is in {log}" in text
        assert f"bug of the {half}" in log.read_text()
    assert "buggy:InServer: 2 runs failed: KeyError: 'lost'" in end.stdout
    assert place_of(source, "server") in end.stdout
    cells = {path.stem for path in (out / "cells").glob("*.json")}
    assert len(cells) == 4 and not any("InServer" in name for name in cells)


def test_repetitions_of_a_run_tell_of_theirs(data: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = ("--rounds", 1, "--partition", "natural", "--seeds", 2, "--holdout-site", "each")
    end = run(data, out, "InClient", "--engine", "inline", *more)
    assert end.exit_code == 0, end.stderr
    written = (out / "errors.log").read_text()
    for where in ("Round 1", "Seed 1, round 1", "Unseen site 0, round 1"):
        assert f" {where}, client 1: ZeroDivisionError" in written


def test_a_round_that_is_taken_back_names_the_place(
    data: Path, source: Path, tmp_path: Path
) -> None:
    end = run(data, tmp_path / "run", "UnsolvedByServer", "--engine", "debug")
    assert end.exit_code == 0, end.stderr
    taken_back = f"Round 2 is taken back: Singular matrix ({place_of(source, 'total')})"
    assert any(text.startswith(taken_back) for text in warnings_of(end))


@pytest.mark.parametrize("strategy", ["InClient", "InServer", "Unsolved"])
@pytest.mark.parametrize("command", [simulate.main, compare.main])
def test_debug_lets_an_error_through_with_its_place(
    command: Callable[..., None], strategy: str, data: Path, source: Path, tmp_path: Path
) -> None:
    key = "--strategy" if command is simulate.main else "--strategies"
    given = ("--data", f"features:{data}", "--out", tmp_path / "run", key, f"buggy:{strategy}")
    expected, half = {
        "InClient": (ZeroDivisionError, "client"),
        "InServer": (KeyError, "server"),
        # Of a server it would be foreseen.
        "Unsolved": (np.linalg.LinAlgError, "solver"),
    }[strategy]
    with pytest.raises(expected) as raised:
        finished(command, *given, *QUICK, "--engine", "debug")
    frames = traceback.extract_tb(raised.value.__traceback__)
    places = [f"{frame.filename}, line {frame.lineno}" for frame in frames]
    assert place_of(source, half) in places
    assert threading.current_thread() is threading.main_thread()
    assert not (tmp_path / "run" / "errors.log").exists()


def test_in_a_process_of_its_own_debug_stops_at_breakpoints_and_ends_as_python_does(
    data: Path, source: Path, tmp_path: Path
) -> None:
    given = ("--data", f"features:{data}", *QUICK, "--engine", "debug")
    stopped = run_module(
        "fedtl.simulate",
        *(*given, "--out", tmp_path / "stopped", "--strategy", "buggy:Stopping"),
        folder=source.parent,
        typed="p 6 * server_round + 30\nc\n",
    )
    assert (stopped.returncode, stopped.stderr.count("\x1b")) == (0, 0), stopped.stderr
    assert "(Pdb) 42\n" in stopped.stdout
    assert "report: " in stopped.stdout
    failed = run_module(
        "fedtl.simulate",
        *(*given, "--out", tmp_path / "failed", "--strategy", "buggy:InClient"),
        folder=source.parent,
    )
    assert failed.returncode == 1
    assert "Traceback (most recent call last):" in failed.stderr
    file, _, line = place_of(source, "client").rpartition(", line ")
    assert f'File "{file}", line {line}, in client_train' in failed.stderr
    assert failed.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_debug_is_one_by_one_and_gives_the_same_head(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, threading.Thread]] = []

    def answer(self: FedtlClients, messages: Sequence[Message], contexts: Any) -> list[Message]:
        asked.append((len(messages), threading.current_thread()))
        return answered(self, messages, contexts)

    answered = FedtlClients.__call__
    monkeypatch.setattr(FedtlClients, "__call__", answer)
    given = ("--data", f"features:{data}", "--strategy", "scaffold", "--dropout", 0.3, *QUICK)
    heads, most = [], []
    for engine in ("inline", "debug"):
        asked.clear()
        out = tmp_path / engine
        end = finished(simulate.main, *given, "--out", out, "--engine", engine)
        assert end.exit_code == 0, end.stderr
        summary = json.loads((out / "summary.json").read_text())
        heads.append((summary["head_sha256"], summary["failures"]))
        most.append(max(count for count, _ in asked))
        assert {thread for _, thread in asked} == {threading.main_thread()}
    assert heads[0] == heads[1]
    assert heads[0][1], "somebody dropped out"
    assert most == [CLIENTS, 1]


def test_an_interruption_stays_a_sentence(data: Path, source: Path, tmp_path: Path) -> None:
    end = run(data, tmp_path / "run", "Interrupted", "--engine", "debug")
    assert end.exit_code == 130
    assert end.stderr.splitlines()[-1].startswith("error: interrupted; go on with --resume ")
    assert "Traceback" not in end.stderr
