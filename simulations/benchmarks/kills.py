"""What a killed run leaves behind: ``python -m simulations.benchmarks.kills``.

Every signal, in every phase, inline and with Ray. A run is recognised by a mark in its environment,
which its processes inherit, and by its own folder for temporary files; if permitted, it has its own
``/dev/shm``, too. So this can run beside other runs. Ends with status 1 if anything was left, if an
ending took too long, or if a sentence misleads.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedtl.engine.ray_head import remove_leftovers

PATIENCE_SECONDS = 5.0
ENDING_SECONDS = 2.0
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT)
# What a run writes on standard error as each phase begins; seconds after its start for the first.
PHASES = {
    "imports": 0.7,
    "Ray starts": "",
    "features": "features of",
    "clients": "starting the clients",
    "rounds": "round ",
    "closing": "scoring all heads",
    "reference": "solving the centralised",
    "report": "writing the report",
}
_RUN_SECONDS = 120.0
MARK = "FEDTL_KILLS"
_NAMESPACE = "FEDTL_KILLS_NAMESPACE"


@dataclass(frozen=True)
class Left:
    """What there was after a kill.

    Attributes:
        exit_code: The run's.
        seconds: Until the run itself had ended.
        processes: Command lines of processes still there after ``PATIENCE_SECONDS``.
        shared_memory: Names in ``/dev/shm`` that were not there before.
        temporary: Names in the run's folder for temporary files; after SIGKILL, those that remain
            after the next start.
        said: Its standard error.
        kept: Whether its run folder is there.
    """

    exit_code: int
    seconds: float
    processes: list[str]
    shared_memory: list[str]
    temporary: list[str]
    said: str
    kept: bool


def killed(number: signal.Signals, phase: str, engine: str, out: Path) -> Left:
    """Start a run that lasts, send it a signal in a phase, and look."""
    mark = secrets.token_hex(8)
    before = set(os.listdir("/dev/shm"))  # noqa: PTH208
    # Short, as Ray's sockets lie in it.
    temporary = Path(tempfile.mkdtemp(prefix="k", dir="/tmp"))
    environment = {**os.environ, MARK: mark, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "fedtl.simulate", f"--engine={engine}", f"--out={out}"]
    command += ["--clients=4", "--rounds=400" if phase == "rounds" else "--rounds=2"]
    if phase == "features":
        command += ["--no-cache", "--hospitals-images=2000"]
    else:
        command += [f"--data=features:{_embeddings(temporary.with_suffix('.npz'))}"]
    said = temporary.with_suffix(".said")
    try:
        with said.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stderr=file, stdout=subprocess.DEVNULL
            )
        try:
            _wait_for(phase, process, said)
            process.send_signal(number)
            began = time.monotonic()
            process.wait(PATIENCE_SECONDS)
            seconds = time.monotonic() - began
            while list(marked_processes(mark)) and time.monotonic() - began < PATIENCE_SECONDS:
                time.sleep(0.05)
            if number == signal.SIGKILL:
                _as_the_next_start(temporary)
            return Left(
                exit_code=process.returncode,
                seconds=seconds,
                processes=list(marked_processes(mark).values()),
                shared_memory=sorted(set(os.listdir("/dev/shm")) - before),  # noqa: PTH208
                temporary=sorted(path.name for path in temporary.iterdir()),
                said=said.read_text(),
                kept=out.exists(),
            )
        finally:
            process.kill()
            process.wait()
            for pid in marked_processes(mark):
                os.kill(pid, signal.SIGKILL)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for suffix in (".said", ".npz"):
            temporary.with_suffix(suffix).unlink(missing_ok=True)


def _as_the_next_start(temporary: Path) -> None:
    """Remove what a run leaves to the next start: Ray's folder, if it was killed in Ray's start."""
    tempfile.tempdir = str(temporary)
    try:
        remove_leftovers()
    finally:
        tempfile.tempdir = None


def _embeddings(path: Path) -> Path:
    """Write embeddings of three classes, whose features take no time."""
    draws = np.random.default_rng(0)
    labels = np.arange(400) % 3
    centres = draws.normal(size=(3, 16))
    np.savez(path, x=centres[labels] + draws.normal(size=(400, 16)), y=labels)
    return path


def _wait_for(phase: str, process: subprocess.Popen[bytes], said: Path) -> None:
    sign = PHASES[phase]
    deadline = time.monotonic() + _RUN_SECONDS
    if isinstance(sign, float):
        time.sleep(sign)
        return
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended before {phase}: {said.read_text()}")
        if sign in said.read_text() if sign else _starts_ray(process.pid):
            time.sleep(0.2)
            return
        time.sleep(0.02)
    raise RuntimeError(f"no {phase} in {_RUN_SECONDS:.0f} s: {said.read_text()}")


def _starts_ray(parent: int) -> bool:
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [pid for file in children for pid in file.read_text().split()]
    return any(b"ray_head_process" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


def marked_processes(mark: str) -> dict[int, str]:
    """Return command lines of the living processes that have the mark, by their ids."""
    wanted = f"{MARK}={mark}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = line.decode(errors="replace")
            except OSError:
                continue
    return found


def faults(left: Left, number: signal.Signals, phase: str, *, alone: bool) -> list[str]:
    """Return what is wrong with what a kill left.

    Args:
        left: What it left.
        number: The signal.
        phase: When it came.
        alone: Whether no other process writes to ``/dev/shm``.
    """
    wrong = [f"process: {line}" for line in left.processes]
    if alone:
        wrong += [f"/dev/shm/{name}" for name in left.shared_memory]
    wrong += left.temporary
    if number == signal.SIGKILL:
        return wrong
    if left.seconds > ENDING_SECONDS:
        wrong.append(f"it took {left.seconds:.1f} s")
    if phase != "imports" and left.exit_code != 128 + number:
        wrong.append(f"status {left.exit_code}")
    # Ray's own handlers print stars.
    raw = "Traceback" in left.said or "***" in left.said
    if raw or left.kept != ("--resume" in left.said):
        wrong.append(left.said)
    return wrong


def _in_a_namespace() -> bool:
    """Return whether ``/dev/shm`` is this program's alone; start anew so if that is permitted."""
    if os.environ.get(_NAMESPACE):
        return os.environ[_NAMESPACE] == "own"
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
    try:
        permitted = not subprocess.run(
            [*mount, "true"], capture_output=True, check=False
        ).returncode
    except FileNotFoundError:
        permitted = False
    os.environ[_NAMESPACE] = "own" if permitted else "shared"
    if permitted:
        os.execvp("unshare", [*mount, sys.executable, *sys.orig_argv[1:]])
    return False


def cases(engines: list[str], phases: list[str]) -> Iterator[tuple[signal.Signals, str, str]]:
    """Yield every signal in every phase with every engine."""
    for engine in engines:
        for phase in phases:
            if phase != "Ray starts" or engine == "ray":
                for number in SIGNALS:
                    yield number, phase, engine


def main() -> None:
    """Try all that is asked for, print a line for each, and end with status 1 for any fault."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--engine", action="append", choices=["inline", "ray"])
    parser.add_argument("--phase", action="append", choices=list(PHASES))
    parser.add_argument("--signal", action="append", choices=[one.name for one in SIGNALS])
    chosen = parser.parse_args()
    alone = _in_a_namespace()
    found = 0
    for number, phase, engine in cases(
        chosen.engine or ["inline", "ray"], chosen.phase or list(PHASES)
    ):
        if chosen.signal and number.name not in chosen.signal:
            continue
        with tempfile.TemporaryDirectory() as folder:
            left = killed(number, phase, engine, Path(folder) / "run")
        wrong = faults(left, number, phase, alone=alone)
        found += bool(wrong)
        print(
            f"{'WRONG' if wrong else 'right'} {number.name:7} {engine:6} {phase:10} "
            f"{left.seconds:.2f} s, status {left.exit_code}" + "".join(f"; {it}" for it in wrong),
            flush=True,
        )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
