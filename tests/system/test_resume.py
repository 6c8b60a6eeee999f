"""Killed at any instant and resumed, a run ends with the bytes of a run that nothing disturbed."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import finished
from unreported_run import Simulated, simulated

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.csv_cells import csv_text
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.round_row import Round
from fedtl.observers.run_folder import RunFolder
from fedtl.privacy.egress import LedgerEntry
from fedtl.records import from_record, to_record
from simulations.benchmarks.kills import MARK, PATIENCE_SECONDS, marked_processes
from strategies.base import Arrays, Reply
from strategies.scaffold import Scaffold

CHOSEN = True

ROUNDS = 4
CLIENTS = 4


class ServerMomentum(Scaffold):
    """SCAFFOLD whose server moves on with momentum: both it and the clients may forget something.

    What clients remember are their control variates, and so must a checkpoint.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._before: Arrays = {}
        self._velocity: Arrays = {}

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        average = super().aggregate(server_round, head, replies)
        if average is None:
            return None
        for name, value in average.items():
            start = self._before.get(name, np.zeros_like(value))
            velocity = 0.5 * self._velocity.get(name, np.zeros_like(value)) + (value - start)
            self._velocity[name] = velocity
            self._before[name] = start + velocity
        return dict(self._before)

    def server_state(self) -> Arrays:
        state = {f"before/{name}": value for name, value in self._before.items()}
        state |= {f"velocity/{name}": value for name, value in self._velocity.items()}
        return state | {f"control/{name}": value for name, value in super().server_state().items()}

    def restore_server_state(self, state: Arrays) -> None:
        kinds: dict[str, Arrays] = {"before": {}, "velocity": {}, "control": {}}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            kinds[kind][name] = value
        self._before, self._velocity = kinds["before"], kinds["velocity"]
        super().restore_server_state(kinds["control"])


# How often each strategy's uninterrupted run calls its journal, and what fails in it.
INSTANTS = {
    "test_resume:ServerMomentum": 3 * ROUNDS + 3,
    "fed3r": 5,
}
FAILURES = {
    "test_resume:ServerMomentum": [(2, 1, "'weight' in 'arrays' is not finite")],
    "fed3r": [],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three classes at four sites, with a test split."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = (rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, site=np.arange(90) % CLIENTS, test=np.arange(90) >= 80)
    return path


@pytest.fixture
def _a_client_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let client 1 send NaN in round 2: its failure must survive a resume as well."""
    answer = FedtlClients.__call__

    def poisoned(
        clients: FedtlClients, messages: Sequence[Message], contexts: Sequence[Context]
    ) -> list[Message]:
        replies = answer(clients, messages, contexts)
        for message, reply, context in zip(messages, replies, contexts, strict=True):
            troubled = context.node_config["partition-id"] == 1 and "arrays" in reply.content
            if troubled and message.content["config"]["server-round"] == 2:
                arrays = from_record(reply.content.array_records["arrays"])
                nan = {name: np.full_like(value, np.nan) for name, value in arrays.items()}
                reply.content["arrays"] = to_record(nan)
        return replies

    monkeypatch.setattr(FedtlClients, "__call__", poisoned)


def _config(data: Path, out: Path, strategy: str) -> RunConfig:
    return RunConfig(
        data=f"features:{data}",
        partition="natural",
        engine="inline",
        rounds=ROUNDS,
        fraction=0.8,
        strategy=strategy,
        out=str(out),
    )


# --- killing --------------------------------------------------------------------------------------


class Killed(BaseException):
    """Like SIGKILL, nothing of ours catches it."""


@dataclass(frozen=True)
class Kill:
    """An instant at which a process ends.

    Attributes:
        call: At which call of the journal, counted from 0.
        how: Before it writes, midway, or once it has written.
    """

    call: int
    how: str


HOWS = ("before", "midway", "after")
KILLS = {
    strategy: [
        Kill(call, how)
        for call in range(calls)
        for how in HOWS
        # Half a file is what may mislead. Calls come in threes, so that one in four meets each.
        if how == "midway" or call % 4 == HOWS.index(how)
    ]
    for strategy, calls in INSTANTS.items()
}


def _half_egress(path: Path, entries: Sequence[LedgerEntry]) -> None:
    whole = csv_text(entries[: len(entries) // 2], line_end="\n")
    _append(path / "egress.csv", f"{whole}{entries[-1].server_round},3,do")


def _half_round(path: Path, finished: Round, rounds: int) -> None:
    _append(path / "metrics.jsonl", json.dumps(finished.to_mapping())[:-3])


def _half_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    (path / "checkpoint").mkdir(exist_ok=True)
    name = f".round-{checkpoint.server_round:07d}.safetensors.tmp"
    (path / "checkpoint" / name).write_bytes(b"half")


HALVES: dict[str, Callable[..., None]] = {
    "sent": _half_egress,
    "round": _half_round,
    "checkpoint": _half_checkpoint,
}


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


Entry = Callable[..., None]


@contextmanager
def _journal(kept_by: Callable[[str, Entry], Entry]) -> Iterator[None]:
    """Have the journal's calls go where a function of a call's name and the call itself says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in HALVES:
            patch.setattr(RunFolder, name, kept_by(name, getattr(RunFolder, name)))
        yield


@contextmanager
def _killed(kill: Kill | None) -> Iterator[list[str]]:
    """Raise :class:`Killed` at an instant; yield the names of the journal's calls so far."""
    calls: list[str] = []
    serial = count()

    def dying(name: str, whole: Entry) -> Entry:
        def entry(folder: RunFolder, *arguments: Any) -> None:
            calls.append(name)
            how = kill.how if kill and next(serial) == kill.call else ""
            if how == "midway":
                HALVES[name](folder.path, *arguments)
            elif how != "before":
                whole(folder, *arguments)
            if how:
                raise Killed

        return entry

    with _journal(dying):
        yield calls


@contextmanager
def _copied(kills: Sequence[Kill], copies: Path) -> Iterator[list[str]]:
    """Keep what a kill at each of some instants would leave; yield the journal's calls so far."""
    calls: list[str] = []

    def copying(name: str, whole: Entry) -> Entry:
        def entry(folder: RunFolder, *arguments: Any) -> None:
            hows = {kill.how for kill in kills if kill.call == len(calls)}
            copy = {how: copies / f"{len(calls)}-{how}" for how in hows}
            calls.append(name)
            for how in hows - {"after"}:
                shutil.copytree(folder.path, copy[how])
            if "midway" in hows:
                HALVES[name](copy["midway"], *arguments)
            whole(folder, *arguments)
            if "after" in hows:
                shutil.copytree(folder.path, copy["after"])

        return entry

    with _journal(copying):
        yield calls


def _resumed(out: Path, kills: Sequence[Kill]) -> dict[str, Any]:
    """Resume a run until it ends, killed at each of some instants on the way."""
    for kill in [*kills, None]:
        with _killed(kill):
            folder, checkpoint = RunFolder.reopen(out)
            try:
                return _result(folder, simulated(folder, checkpoint))
            except Killed:
                continue
    raise AssertionError("the last attempt was not to be killed")


def _result(folder: RunFolder, ran: Simulated) -> dict[str, Any]:
    """Return everything about a run that no interruption may change."""
    outcome = ran.outcome
    standardisation = outcome.standardisation
    return {
        "head": [(name, value.dtype, value.tobytes()) for name, value in outcome.arrays.items()],
        "standardisation": standardisation
        and (standardisation.mean.tobytes(), standardisation.scale.tobytes()),
        "rounds": outcome.rounds,
        "timed": len(outcome.seconds),
        "bytes": (outcome.bytes_up, outcome.bytes_down),
        "failures": outcome.failures,
        "federated": {k: t.held_out.accuracy for k, t in outcome.federated.items()},
        "local-only": {k: t.held_out.accuracy for k, t in outcome.local_only.items()},
        "centralised": {k: t.held_out.accuracy for k, t in ran.centralised.tallies.items()},
        "metrics.jsonl": _metrics(folder.path),
        "rows for the report": [replace(row, seconds=0) for row in folder.remembered.rounds],
        "egress.csv": (folder.path / "egress.csv").read_text(),
        "egress for the report": folder.remembered.egress_totals(),
        "partition.json": (folder.path / "partition.json").read_text(),
        "files": sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*")),
    }


def _metrics(out: Path) -> list[dict[str, Any]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


@dataclass(frozen=True)
class Undisturbed:
    """An uninterrupted run.

    Attributes:
        result: What it came to.
        copies: Its folder as it was at each of its strategy's ``KILLS``.
    """

    result: dict[str, Any]
    copies: Path


@pytest.fixture(scope="module")
def undisturbed(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Undisturbed]:
    """Each strategy's uninterrupted run."""

    @functools.cache
    def run(strategy: str) -> Undisturbed:
        out, copies = (tmp_path_factory.mktemp("undisturbed") / name for name in ("run", "copies"))
        folder = RunFolder.create(_config(data, out, strategy))
        with _copied(KILLS[strategy], copies) as calls:
            result = _result(folder, simulated(folder, None))
        assert len(calls) == INSTANTS[strategy], calls
        assert result["failures"] == FAILURES[strategy]
        return Undisturbed(result, copies)

    return run


def _assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for part, value in other.items():
        assert one[part] == value, part


@pytest.mark.usefixtures("_a_client_in_trouble")
@pytest.mark.parametrize(
    ("strategy", "call", "how"),
    [(strategy, kill.call, kill.how) for strategy, kills in KILLS.items() for kill in kills],
)
def test_killed_at_any_instant(
    strategy: str, call: int, how: str, undisturbed: Callable[[str], Undisturbed]
) -> None:
    """Whoever is killed leaves what was there at that instant: each goes on from a copy of it."""
    run = undisturbed(strategy)
    _assert_same(_resumed(run.copies / f"{call}-{how}", []), run.result)


@pytest.mark.usefixtures("_a_client_in_trouble")
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.builds(Kill, st.integers(0, 10), st.sampled_from(HOWS)), max_size=4))
def test_killed_again_and_again(
    data: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path_factory: pytest.TempPathFactory,
    kills: list[Kill],
) -> None:
    out = tmp_path_factory.mktemp("again") / "run"
    RunFolder.create(_config(data, out, "test_resume:ServerMomentum")).close()
    _assert_same(_resumed(out, kills), undisturbed("test_resume:ServerMomentum").result)


@pytest.mark.usefixtures("_a_client_in_trouble")
def test_killed_while_the_first_files_were_written(
    data: Path, undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    RunFolder.create(_config(data, out, "fed3r")).close()
    for name in ("egress.csv", "metrics.jsonl"):
        (out / name).unlink()
    _assert_same(_resumed(out, []), undisturbed("fed3r").result)


# --- the whole command ----------------------------------------------------------------------------


def _final(out: Path) -> dict[str, Any]:
    """Return what a finished run's folder says, but for times and memory."""
    summary = json.loads((out / "summary.json").read_text())
    for measured in ("seconds", "peak_rss_mb"):
        del summary[measured]
    names = ("head.safetensors", "egress.csv", "clients.csv", "partition.json")
    files = {name: (out / name).read_bytes() for name in names}
    return {"summary": summary, "metrics": _metrics(out), **files}


@pytest.mark.usefixtures("_a_client_in_trouble")
@pytest.mark.parametrize("strategy", INSTANTS)
def test_resuming_a_finished_run_trains_no_more_and_says_the_same(
    strategy: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    flags = ["--data", f"features:{data}", "--partition", "natural", "--engine", "inline"]
    flags += ["--rounds", str(ROUNDS), "--strategy", strategy]
    assert finished(simulate.main, "--quiet", *flags, "--out", out).exit_code == 0
    before = _final(out)
    seconds = json.loads((out / "summary.json").read_text())["seconds"]
    with _killed(None) as calls:
        end = finished(simulate.main, "--resume", out, "--json")
    assert end.exit_code == 0, end.stderr
    assert calls == ["sent", "round"], "only the closing evaluation"
    told = json.loads(end.stdout)
    assert told == {"run_folder": str(out), **json.loads((out / "summary.json").read_text())}
    _assert_same(_final(out), before)
    for of_rounds in ("rounds", "per_round_median"):
        assert told["seconds"][of_rounds] == seconds[of_rounds]


@pytest.mark.usefixtures("shared_ray")
def test_killed_by_sigkill_in_mid_round_with_ray(
    data: Path, tmp_path: Path, warm_worker: Path
) -> None:
    out = tmp_path / "killed"
    rounds = 25
    flags = ["--data", f"features:{data}", "--partition", "natural", "--rounds", str(rounds)]
    flags += ["--fraction", "0.8", "--quiet"]
    command = [str(warm_worker), "-m", "fedtl.simulate"]
    mark = f"resumed{os.getpid()}"
    with subprocess.Popen(
        [*command, *flags, "--engine", "ray", "--out", str(out)], env={**os.environ, MARK: mark}
    ) as process:
        try:
            _wait_for_lines(out / "metrics.jsonl", 3, process)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "what it started has ended with it"
    assert 3 <= len(_whole(out / "metrics.jsonl")) < rounds
    assert not (out / "summary.json").exists()

    assert finished(simulate.main, "--resume", out, "--quiet").exit_code == 0
    undisturbed = tmp_path / "undisturbed"
    inline = finished(simulate.main, *flags, "--engine", "inline", "--out", undisturbed)
    assert (inline.exit_code, inline.stderr) == (0, "")
    _assert_same(_final(out), _final(undisturbed))


def _wait_for_lines(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while len(_whole(path)) < lines:
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _whole(path: Path) -> list[str]:
    """Return the lines of a file that were written to their end."""
    text = path.read_text() if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
