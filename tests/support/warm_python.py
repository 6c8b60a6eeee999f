"""Python processes that begin with PyTorch, Flower and Ray imported, as forks of one that did.

Flower starts a process for every message at a site, and Ray one for every actor; of the 5 and 3 s
of CPU that they take, importing is nearly all. A command of :func:`warm_command` hands arguments,
environment, folder and open files to a server, which forks, and ends as the fork does.
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
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

_IMPORTS = {
    "flwr-clientapp": ("flwr.supernode.cli.flwr_clientapp", "fedtl.flower_app"),
    # Ray itself reads its environment, which says whose worker a process is, as it is imported.
    "python": ("fedtl.engine.fedtl_clients",),
}
_DIGITS = 8
# What takes a command's place: without its site packages, Python starts in 15 ms. Of what Ray runs
# by Python, only workers import much.
_COMMAND = """#!{python} -IS
import json, os, socket, sys
if sys.argv[0].endswith("python") and not sys.argv[1].endswith("default_worker.py"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [b"%{digits}d" % len(request)], [0, 1, 2])
server.sendall(request)
server.recv(1)
"""


@contextmanager
def warm_command(name: str, folder: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """Serve a command until the block ends.

    Args:
        name: ``flwr-clientapp``, or ``python`` for Ray's workers.
        folder: Where it is to lie; a short name, as a socket's has 107 characters at most.
        env: What the imports depend on.

    Yields:
        The command.
    """
    address, command = str(folder / "warm"), folder / name
    command.write_text(_COMMAND.format(python=sys.executable, address=address, digits=_DIGITS))
    command.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        with subprocess.Popen(
            [sys.executable, __file__, name, str(listener.fileno())],
            env=dict(env),
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        ) as server:
            try:
                yield command
            finally:
                assert server.stdin is not None
                server.stdin.close()


def _serve(name: str, listener: socket.socket) -> None:
    for module in _IMPORTS[name]:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        asker, _ = listener.accept()
        if not os.fork():
            listener.close()
            _become(asker)
        asker.close()


def _become(asker: socket.socket) -> NoReturn:
    """Do in this process what a command was asked to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(asker, _DIGITS, 3)
    argv, env, folder = json.loads(asker.recv(int(length), socket.MSG_WAITALL))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    code = 1
    try:
        if argv[0].endswith("python"):
            sys.argv = argv[1:]
            runpy.run_path(argv[1], run_name="__main__")
        else:
            from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

            sys.argv = argv
            flwr_clientapp()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
