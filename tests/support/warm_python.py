"""Python processes that begin with PyTorch and Flower imported, as forks of one that did.

Flower starts a process for every message at a site, for every run and for every command, Ray one
for every actor, Jupyter one for every notebook; of the 1 to 6 s of CPU that each takes, importing
is nearly all. A command of
:func:`warm_commands` hands arguments, environment, folder and open files to a server, which forks;
the command ends as the fork does, and the fork is told to end if the command is ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from fedtl.engine import ray_head

# What a command does, by its name.
_DOES = {
    "flower-superexec": "flwr.supercore.cli:flower_superexec",
    "flower-superlink": "flwr.superlink.cli:flower_superlink",
    "flower-supernode": "flwr.supernode.cli:flower_supernode",
    "flwr": "flwr.cli.app:app",
    "flwr-clientapp": "flwr.supernode.cli:flwr_clientapp",
    "flwr-serverapp": "flwr.superlink.cli:flwr_serverapp",
    "flwr-simulation": "flwr.simulation.app:flwr_simulation",
}
# Ray itself reads its environment, which says whose worker a process is, as it is imported: none of
# these may import it.
_IMPORTS = (
    *("fedtl.flower_app", "fedtl.engine.fedtl_clients", "fedtl.runs.run"),
    # What a run's page is made with; pandas asks as it is imported whether it is in a notebook.
    *("matplotlib.figure", "scipy.stats"),
)
_DIGITS = 8
_ENDS_WITHIN = 5.0
# Servers and sites wait so many seconds before they look for news again; here, a tenth.
_LOOKS_EVERY = 3
# What takes a command's place: without its site packages, Python starts in 15 ms. Of what Ray runs
# by Python, only workers import much; a run is for test_resume.py to kill.
_COMMAND = """#!{python} -IS
import json, os, socket, sys
much = "default_worker.py", "ipykernel_launcher", "fedtl.simulate"
if sys.argv[0].endswith("/python") and not any(word.endswith(much) for word in sys.argv[1:3]):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [b"%{digits}d" % len(request)], [0, 1, 2])
server.sendall(request)
os._exit((server.recv(1) or bytes([1]))[0])
"""


# Starts Ray for a run as fedtl's own script does, but for Python that its workers are started with.
_HEAD = """
import runpy, sys
sys.executable = {warm!r}
runpy.run_path({script!r}, run_name="__main__")
"""


@contextmanager
def warm_commands(folder: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """Serve Flower's commands, and ``python`` for workers and kernels; all end with the block.

    Args:
        folder: Where they are to lie; a short name, as a socket's has 107 characters at most.
        env: What the imports depend on.

    Yields:
        The folder, to be the first of a ``PATH``.
    """
    address = str(folder / "warm")
    for name in ("python", *_DOES):
        command = folder / name
        command.write_text(_COMMAND.format(python=sys.executable, address=address, digits=_DIGITS))
        command.chmod(0o755)
    head = _HEAD.format(warm=str(folder / "python"), script=str(ray_head._PROCESS))
    ray_head_script(folder).write_text(head)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        with subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            # Whether a working folder is searched is for each command's own environment to say.
            env={name: value for name, value in env.items() if name != "PYTHONSAFEPATH"},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        ) as server:
            try:
                yield folder
            finally:
                assert server.stdin is not None
                server.stdin.close()


def ray_head_script(folder: Path) -> Path:
    """Return what is to take the place of fedtl's own script that starts Ray."""
    return folder / "head.py"


def _serve(listener: socket.socket) -> None:
    for module in (*_IMPORTS, *(place.partition(":")[0] for place in _DOES.values())):
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        asker, _ = listener.accept()
        if not os.fork():
            listener.close()
            _become(asker)
        asker.close()
    os.killpg(0, signal.SIGKILL)


def _become(asker: socket.socket) -> NoReturn:
    """Do in this process what a command was asked to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(asker, _DIGITS, 3)
    argv, env, folder = json.loads(asker.recv(int(length), socket.MSG_WAITALL))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    own = _path(os.environ)
    sys.path[:] = _path(env) + [folder for folder in sys.path if folder not in own]
    os.environ.clear()
    os.environ.update(env)
    by = signal.SIGKILL if "fedtl.simulate" in argv else signal.SIGTERM
    threading.Thread(target=_end_with, args=(asker, by), daemon=True).start()
    code = 1
    try:
        if argv[0].endswith("/python") and argv[1] == "-m":
            ray_head._PROCESS = ray_head_script(Path(argv[0]).parent)
            if not env.get("PYTHONSAFEPATH"):
                sys.path.insert(0, folder)
            sys.argv = argv[2:]
            runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
        elif argv[0].endswith("/python"):
            sys.argv = argv[1:]
            runpy.run_path(argv[1], run_name="__main__")
        else:
            sys.argv = argv
            sleep = time.sleep
            soon = 0.1 * _LOOKS_EVERY
            time.sleep = lambda wait: sleep(soon if wait == _LOOKS_EVERY else wait)
            module, _, function = _DOES[Path(argv[0]).name].partition(":")
            getattr(importlib.import_module(module), function)()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):  # who asked may be gone
            sys.stdout.flush()
            sys.stderr.flush()
            asker.send(bytes([code & 255]))
        os._exit(code & 255)


def _path(env: Mapping[str, str]) -> list[str]:
    # An empty entry would be the working folder, which these commands do not search.
    return [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]


def _end_with(asker: socket.socket, by: signal.Signals) -> None:
    """End this process by a signal if the command is ended whose work it does."""
    asker.recv(1)
    os.kill(os.getpid(), by)
    time.sleep(_ENDS_WITHIN)
    os._exit(1)


if __name__ == "__main__":
    del sys.path[0]  # this file's folder, which is on no command's path
    _serve(socket.socket(fileno=int(sys.argv[1])))
