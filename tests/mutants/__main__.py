"""Run mutants: ``python -m tests.mutants [ROOM | ROOM:NUMBER] ...``, all without an argument.

Each is applied in a copy of the project, whose tests named for it are run there until one fails;
they are run once without any, as tests that fail by themselves judge nothing.
Ends with status 1 if any survived, or could not be judged.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import ROOT, Mutant, mutants, placed

_COPIED = ("fedtl", "strategies", "simulations", "tests", "docs", "README.md", "pyproject.toml")
_SECONDS = 180
# By pytest's exit status. A mutant that never ends is found out, too.
_OUTCOMES = {0: "SURVIVED", 1: "killed", -9: "killed, as it took too long"}
# What takes seconds to import, and is nobody's mutant: once for all.
_LIBRARIES = (
    *("torch", "torchvision", "flwr.app", "flwr.serverapp", "scipy.stats", "sklearn.metrics"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "pandas", "hypothesis", "pytest"),
    *("typer", "rich", "jinja2", "PIL.Image", "safetensors.torch", "optuna"),
)


def _status(tests: Sequence[str], root: Path) -> int:
    """Return pytest's exit status, in a process of its own; -9 if it took too long."""
    child = os.fork()
    if not child:
        os.chdir(root)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
        os.environ["PYTHONPATH"] = str(root)
        pytest = importlib.import_module("pytest")
        os._exit(int(pytest.main(["-n", "0", "-x", "-q", "-p", "no:cacheprovider", *tests])))
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _outcome(mutant: Mutant, root: Path, whole: dict[tuple[str, ...], int]) -> str:
    """Return what became of a mutant; ``whole`` remembers how tests end without any."""
    path, tests = root / mutant.file, tuple(map(placed, mutant.tests))
    if tests not in whole:
        whole[tests] = _status(tests, root)
    if whole[tests]:
        return "NOT JUDGED (its tests fail without it)"
    text = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(root), encoding="utf-8")
    try:
        status = _status(tests, root)
    finally:
        path.write_text(text, encoding="utf-8")
    return _OUTCOMES.get(status, f"NOT JUDGED (pytest ended with status {status})")


def main() -> int:
    """Run those that are asked for; print each and the score of every room."""
    os.environ |= {"OMP_NUM_THREADS": "1", "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    for library in _LIBRARIES:
        importlib.import_module(library)
    asked = [one.partition(":") for one in sys.argv[1:]]
    tried: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    whole: dict[tuple[str, ...], int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copied(ROOT / name, Path(folder) / name)
        for mutant in mutants([room for room, _, _ in asked]):
            room = mutant.room
            numbers[room] += 1
            wanted = {number for one, _, number in asked if one == room}
            if wanted and not {"", str(numbers[room])} & wanted:
                continue
            outcome = _outcome(mutant, Path(folder), whole)
            tried[room] += 1
            killed[room] += outcome.startswith("killed")
            changed = f"{mutant.file}: {mutant.old.strip()} -> {mutant.new.strip()}"
            print(f"{outcome} {room}:{numbers[room]} {changed}", flush=True)
    for room, count in tried.items():
        print(f"{room}: {killed[room]} of {count} killed")
    return int(killed.total() < tried.total())


if __name__ == "__main__":
    sys.exit(main())
