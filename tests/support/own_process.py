"""Runs fedtl's commands in a process of its own, as a user does.

It is forked, as what every test has imported takes seconds to import. None of them may use Ray: a
fork shares the connections of a Ray that this process has, and would leave it in its name.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pdb
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn


def run_module(
    module: str,
    *arguments: object,
    folder: Path | None = None,
    timeout: float = 60,
    typed: str = "",
) -> subprocess.CompletedProcess[str]:
    """Return how ``python -m module`` ended that was started in a folder, and what it wrote.

    ``typed`` is what it reads from standard input.
    """
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(typed.encode())
        stdin.seek(0)
        child = os.fork()
        if not child:
            # What the tests' process has lying about is not this one's to take apart.
            gc.freeze()
            os.dup2(stdin.fileno(), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            _run(module, [str(argument) for argument in arguments], folder)
        deadline = time.monotonic() + timeout
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended:
            if time.monotonic() > deadline:
                os.kill(child, 9)
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        told = []
        for file in (stdout, stderr):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(
        [module, *map(str, arguments)], os.waitstatus_to_exitcode(status), *told
    )


def _run(module: str, arguments: list[str], folder: Path | None) -> NoReturn:
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    # pytest has a debugger of its own, and so has Ray where it was started.
    sys.breakpointhook = sys.__breakpointhook__
    importlib.reload(pdb)
    os.environ.pop("PYTHONBREAKPOINT", None)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    code = 1
    try:
        os.chdir(folder or ".")
        sys.argv = [module, *arguments]
        sys.path.insert(0, "")
        sys.modules.pop(module, None)
        # What the tests' own process does at its end is not this one's to do, nor to take apart.
        atexit._run_exitfuncs = lambda: None  # type: ignore[assignment]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
