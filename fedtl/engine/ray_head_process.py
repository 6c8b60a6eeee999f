"""The process that starts Ray for a run, or tries a cluster, and ends just after the run.

Ray's ``connect`` holds Python's lock until the raylet has answered, so its caller may block for
ever and not even react to Ctrl-C. It is called here first: the run waits for this process
with a deadline, and connects to a raylet that has answered once.

Run as a script, with one argument, a JSON object; see :class:`fedtl.engine.ray_head.RayHead`. It
imports nothing of fedtl but the file that the request names, so that it does not depend on any
path.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# What this process becomes once Ray is up: 8 MB instead of 80, and nothing in it can hang. The
# system closes the pipe of a run that has ended, however it ended. All that Ray started is of this
# process's session; what starts just then is found by looking again. Orphans become this process's
# children, and are waited for: in a container there may be nobody else who does. The run is told if
# one of Ray's own two processes ends: Ray would end the run later, and without a word of ours.
KEEPER = """
import os, select, shutil, signal, sys, time
folder, *needed = sys.argv[1:]
while not select.select([0], [], [], 0.5)[0]:
    try:
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if str(pid) in needed:
                os.write(1, b'ended\\n')
    except (ChildProcessError, BrokenPipeError):
        pass
own = os.getpid()
def others():
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) != own:
            try:
                with open(f'/proc/{name}/stat') as file:
                    state, _, _, session = file.read().rpartition(')')[2].split()[:4]
            except OSError:
                continue
            if int(session) == own and state != 'Z':
                yield int(name)
for _ in range(100):
    found = list(others())
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        break
    time.sleep(0.02)
shutil.rmtree(folder, ignore_errors=True)
"""


def _prctl(option: int, value: int) -> None:
    """Make the call on Linux; other systems have none."""
    call = getattr(ctypes.CDLL(None), "prctl", None)
    if call is not None:
        call(option, value, 0, 0, 0)


def _die_with(parent: int) -> None:
    """Make the system end this process with its parent, which may have ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _lean_head(file: str) -> Any:
    specification = importlib.util.spec_from_file_location("ray_internals", file)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.lean_head()


def _become_keeper(folder: str, lock: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, 0)  # it has its pipe, and something to do when that ends
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - Ray's own would stay open
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), int(name) == lock)
            except OSError:
                continue  # the one that listed them
    arguments = [folder, *_children()]
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", KEEPER, *arguments])


def _children() -> list[str]:
    """Return the ids of this process's children: Ray's own two."""
    found: list[str] = []
    for file in Path("/proc/self/task").glob("*/children"):
        found += file.read_text().split()
    return found


def main() -> None:
    """Start Ray or join it, print its address as a line of JSON, and keep it running."""
    request = json.loads(sys.argv[1])
    _die_with(request["parent"])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()  # nothing is garbage in so short a life
    for ends in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ends, signal.SIG_IGN)
    try:
        import ray

        if request["address"]:
            found = ray.init(address=request["address"], **request["options"])
        else:
            with _lean_head(request["internals"]):
                found = ray.init(address="local", **request["options"])
    except Exception as error:  # whatever it is, the run tells it
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)
        os._exit(1)
    print(json.dumps({"address": found.address_info["gcs_address"]}), flush=True)
    if request["address"]:
        ray.shutdown()
    else:
        _become_keeper(str(Path(request["folder"])), request["lock"])


if __name__ == "__main__":
    main()
