"""Where the seconds of a default run go, from the command to the finished report.

    python -m simulations.benchmarks.launch
    python -m simulations.benchmarks.launch --repeats 5 --clients 100

Runs ``python -m fedtl.simulate`` with Ray and with ``--engine inline`` in turn, each several times,
after one run that fills the cache. Wall time is that of the quickest run, with its parts; CPU time
is that of all its processes together, the smallest of the runs. Work beside the federation counts
in the wall time only while the run waits for it ("reference").
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

# A variable that all processes of a run inherit, and how often they are looked for.
_MARK, _LOOK_SECONDS = "FEDTL_LAUNCH", 0.05
ENGINES = ("ray", "inline")
PARTS = ("start_up", "features", "handshake", "rounds", "closing", "reference")


@dataclass(frozen=True)
class Measured:
    """A process and all that it started.

    Attributes:
        wall: Seconds until it ended.
        cpu: Seconds of all processes together, as last seen before each ended.
    """

    wall: float
    cpu: float


def measured(arguments: Sequence[str]) -> Measured:
    """Run Python with these arguments, and look at its processes as they work."""
    mark = f"{_MARK}={uuid.uuid4()}"
    used: dict[str, float] = {}
    others: set[str] = set()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, _MARK: mark.partition("=")[2]},
    )
    while process.poll() is None:
        for entry in os.listdir("/proc"):  # noqa: PTH208 - twenty times a second
            if entry.isdigit() and entry not in others:
                with suppress(OSError):
                    _look(entry, mark, used, others)
        time.sleep(_LOOK_SECONDS)
    wall = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return Measured(wall, sum(used.values()))


def _look(entry: str, mark: str, used: dict[str, float], others: set[str]) -> None:
    """Note what a process has used, if it is one of ours: Ray's have no parent of ours."""
    place = Path("/proc") / entry
    if entry not in used and mark.encode() not in (place / "environ").read_bytes().split(b"\0"):
        # One that has just begun may not have its variables yet.
        if time.time() - place.stat().st_mtime > 1.0:
            others.add(entry)
        return
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    used[entry] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_of(engine: str, clients: int, folder: Path) -> tuple[Measured, dict[str, float]]:
    """Return what a run took, and its own account of it."""
    flags = ["--clients", str(clients), "--engine", engine, "--out", str(folder), "--quiet"]
    took = measured(["-m", "fedtl.simulate", *flags])
    seconds: dict[str, float] = json.loads((folder / "summary.json").read_text())["seconds"]
    return took, seconds


def parts_of(
    took: Measured, seconds: dict[str, float], command: Measured, imports: Measured
) -> dict[str, float]:
    """Return the parts of a run's wall time, in order.

    Args:
        took: The run.
        seconds: Its own account: ``total`` begins with the imports, and ends before the report.
        command: Python and the command line alone.
        imports: The same, and the imports.
    """
    parts = {"command line": command.wall, "imports": max(0.0, imports.wall - command.wall)}
    parts |= {name.replace("_", "-"): seconds[name] for name in PARTS}
    parts["start-up"] = max(0.0, parts["start-up"] - parts["imports"])
    known = sum(seconds[name] for name in PARTS)
    parts["other"] = seconds["total"] - known
    parts["report, end"] = took.wall - command.wall - seconds["total"]
    return parts


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each engine.")] = 3,
    clients: Annotated[int, typer.Option(min=1)] = 10,
) -> None:
    """Measure and print."""
    runs: dict[str, list[tuple[Measured, dict[str, float]]]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as place:
        run_of("inline", clients, Path(place) / "warm-up")
        command = min(
            (measured(["-m", "fedtl.simulate", "--version"]) for _ in range(repeats)),
            key=lambda one: one.wall,
        )
        code = "import fedtl.simulate, fedtl.observers.run_folder, fedtl.simulation"
        imports = min((measured(["-c", code]) for _ in range(repeats)), key=lambda one: one.wall)
        for number in range(repeats):
            for engine in ENGINES:
                runs[engine].append(run_of(engine, clients, Path(place) / f"{engine}-{number}"))
    quickest = {engine: min(runs[engine], key=lambda run: run[0].wall) for engine in ENGINES}
    table = Table("seconds", *ENGINES)
    columns = [parts_of(*quickest[engine], command, imports) for engine in ENGINES]
    for part in columns[0]:
        table.add_row(part, *(f"{column[part]:.2f}" for column in columns))
    table.add_section()
    table.add_row("wall", *(f"{quickest[engine][0].wall:.2f}" for engine in ENGINES))
    least = {engine: min(took.cpu for took, _ in runs[engine]) for engine in ENGINES}
    table.add_row("CPU, all processes", *(f"{least[engine]:.2f}" for engine in ENGINES))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
