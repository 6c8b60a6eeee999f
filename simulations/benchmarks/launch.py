"""Where the seconds go of a default run, from the command to the finished report.

    python -m simulations.benchmarks.launch
    python -m simulations.benchmarks.launch --repeats 5 --clients 100

Runs ``python -m fedtl.simulate`` with Ray and with ``--engine inline`` in turn, each several times,
after one run that fills the cache. Wall time is that of the quickest run, with its parts; CPU time
is of all its processes together, and of the least. What is computed beside the federation is no
part of the wall time but for what it is waited for, which is "reference".
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

_PR_SET_CHILD_SUBREAPER = 36
ENGINES = ("ray", "inline")
PARTS = ("start_up", "features", "handshake", "rounds", "closing", "reference")


@dataclass(frozen=True)
class Measured:
    """A process and all that it started.

    Attributes:
        wall: Seconds until it ended.
        cpu: Seconds of all processes together; those of Ray end a little later.
    """

    wall: float
    cpu: float


def measured(arguments: Sequence[str]) -> Measured:
    """Run Python with these arguments, and wait until all that it started has ended."""
    before, began = _cpu(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    # Orphans are this process's children: see main.
    with suppress(ChildProcessError):
        while True:
            os.wait()
    return Measured(wall, _cpu() - before)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
    # What Ray leaves behind for a moment is waited for, and counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    runs: dict[str, list[tuple[Measured, dict[str, float]]]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as place:
        run_of("inline", clients, Path(place) / "warm-up")
        command = min(
            (measured(["-m", "fedtl.simulate", "--version"]) for _ in range(repeats)),
            key=lambda one: one.wall,
        )
        code = "import fedtl.simulate, fedtl.observers.run_folder, fedtl.engine.simulation"
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
