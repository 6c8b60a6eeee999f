"""Run mutants: ``python -m tests.mutants [ROOM | ROOM:NUMBER] ...``, all without an argument.

Each is applied in a copy of the project, whose tests named for it are run there until one fails.
Ends with status 1 if any survived.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutants import ROOT, Mutant, mutants

_COPIED = ("fedtl", "strategies", "simulations", "tests", "docs", "README.md", "pyproject.toml")
_FAILED, _SECONDS = 1, 180
# What takes seconds to import, and is nobody's mutant: once for all.
_LIBRARIES = (
    "torch",
    "torchvision",
    "flwr.app",
    "flwr.serverapp",
    "scipy.stats",
    "sklearn.metrics",
)
_LIBRARIES += ("matplotlib.figure", "matplotlib.backends.backend_svg", "pandas", "hypothesis")
_LIBRARIES += ("pytest", "typer", "rich", "jinja2", "PIL.Image", "safetensors.torch", "optuna")


def _status(tests: list[str], root: Path) -> int:
    """Return pytest's exit status in a process of its own; -1 if it takes too long."""
    child = os.fork()
    if not child:
        os.chdir(root)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
        os.environ["PYTHONPATH"] = str(root)
        import pytest

        os._exit(int(pytest.main(["-n", "0", "-x", "-q", "-p", "no:cacheprovider", *tests])))
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def _killed(mutant: Mutant, root: Path) -> bool:
    path = root / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(root), encoding="utf-8")
    try:
        return _status([f"tests/{test}" for test in mutant.tests], root) in (_FAILED, -1)
    finally:
        path.write_text(whole, encoding="utf-8")


def main() -> int:
    """Run those that are asked for; print each and the score of every room."""
    os.environ |= {"OMP_NUM_THREADS": "1", "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    for library in _LIBRARIES:
        importlib.import_module(library)
    asked = [one.partition(":") for one in sys.argv[1:]]
    numbers: Counter[str] = Counter()
    found: Counter[tuple[str, bool]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(
                ROOT / name, Path(folder) / name
            )
        for mutant in mutants([room for room, _, _ in asked]):
            numbers[mutant.room] += 1
            wanted = [number for room, _, number in asked if room == mutant.room]
            if wanted and not {"", str(numbers[mutant.room])} & set(wanted):
                continue
            began, killed = time.monotonic(), _killed(mutant, Path(folder))
            found[mutant.room, killed] += 1
            line = f"{mutant.old.strip()} -> {mutant.new.strip()}".replace("\n", " ")
            print(
                f"{'killed  ' if killed else 'SURVIVED'} {mutant.room}:{numbers[mutant.room]} "
                f"{time.monotonic() - began:.1f} s {mutant.file}: {line}",
                flush=True,
            )
    for room in dict.fromkeys(room for room, _ in found):
        print(f"{room}: {found[room, True]} of {found[room, True] + found[room, False]} killed")
    return int(any(not killed for _, killed in found))


if __name__ == "__main__":
    sys.exit(main())
