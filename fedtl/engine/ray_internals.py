"""Starting Ray quietly, without the helpers that a simulation does not need.

``ray.init`` starts seven processes beside the workers. The autoscaler's monitor, the log monitor
and the dashboard's head serve clusters and people at a browser; without them Ray starts in 3 s
instead of 4 to 7, stops in 0.15 s instead of 1.3, and holds 170 MB less (measured on two cores).
Without the raylet's two agents, which tell how busy a machine is and install what a job asks for,
it answers in 1.7 s instead of 3.8 and holds 115 MB less (on slower cores). Ray has no switch for
any of these, so their start is skipped here; the agents, which the raylet insists on, have a
stand-in. Written against ray 2.55.1, the version that flwr 1.41 pins; a version without these
methods starts as it always does.

A process that joins Ray gets two things that write to the terminal, whatever its log settings: a
thread that prints messages of Ray's own processes, and a handler of SIGTERM that prints addresses.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ray._private import services, worker
from ray._private.node import Node
from ray.job_config import JobConfig

_UNUSED = ("start_monitor", "start_log_monitor", "start_api_server")
# The raylet's argument that is an agent's command, and the ports that the agent is to tell: none,
# as Ray's own agent tells where it lacks what a dashboard needs.
_AGENTS = {
    "--dashboard_agent_command": (
        *("metrics_agent_port=-1", "metrics_export_port=-1"),
        "dashboard_agent_listen_port=-1",
    ),
    "--runtime_env_agent_command": ("runtime_env_agent_port=-1",),
}
_STAND_IN = Path(__file__).with_name("ray_agent_stand_in.py")
_JOB_ENVIRONMENT = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@contextmanager
def lean_head() -> Iterator[None]:
    """Within this block, a Ray head node starts without what a simulation does not use.

    Who joins it must do so with :func:`no_environment_of_the_job`.
    """
    start = services.start_ray_process

    def start_lean(command: Sequence[str], *arguments: Any, **options: Any) -> Any:
        return start(_without_agents(command), *arguments, **options)

    with ExitStack() as stack:
        for name in _UNUSED:
            stack.enter_context(_replaced(Node, name, _skip))
        stack.enter_context(_replaced(services, "start_ray_process", start_lean))
        stack.enter_context(no_environment_of_the_job())
        yield


@contextmanager
def no_environment_of_the_job() -> Iterator[None]:
    """Within this block, a process joins Ray without asking for packages, variables or folders.

    Ray would install them for the workers, through an agent that :func:`lean_head` leaves out. They
    come of ``uv run``, which Ray looks for, of a hook in the environment and of ``ray job submit``;
    the workers have this process's Python and variables all the same.
    """
    of_job = os.environ.pop(_JOB_ENVIRONMENT, None)
    try:
        with _replaced(worker, "_maybe_modify_runtime_env", lambda asked, *rest: asked):
            yield
    finally:
        if of_job is not None:
            os.environ[_JOB_ENVIRONMENT] = of_job


@contextmanager
def quietly_joined() -> Iterator[None]:
    """Within this block, a process joins Ray without writing to its terminal.

    What fails reaches the caller as an exception, or as the end of Ray's processes.
    """
    with _replaced(worker, "listen_error_messages", _skip), sigterm_kept():
        yield


def job_of_installed_code() -> JobConfig:
    """Return a job whose processes do not search the working directory for modules first.

    A module of any name may lie there, and may come from somebody else. Ray puts the directory on
    their path unless the job is a remote client's. They do need the folder of fedtl.
    """
    ours = str(Path(__file__).parents[2])
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return JobConfig(_client_job=True, _py_driver_sys_path=[] if ours in installed else [ours])


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Within this block, Ray may come or go without changing what SIGTERM does to this process.

    When Ray starts it installs its own handler, and when it stops it leaves none.
    """
    # Python's own functions for this work in its main thread only.
    python = ctypes.pythonapi
    python.PyOS_getsig.restype = ctypes.c_void_p
    python.PyOS_setsig.argtypes = ctypes.c_int, ctypes.c_void_p
    handler = python.PyOS_getsig(signal.SIGTERM)
    try:
        yield
    finally:
        python.PyOS_setsig(signal.SIGTERM, handler)


@contextmanager
def _replaced(owner: object, name: str, instead: object) -> Iterator[None]:
    """Within this block, an attribute is another, if there is one of this name."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _without_agents(command: Sequence[str]) -> list[str]:
    """Return a raylet's command with stand-ins for its agents; another's, as it is."""
    given = dict(word.split("=", 1) for word in command if word.startswith("--") and "=" in word)
    if not {*_AGENTS, "--session_dir", "--node_id"} <= given.keys():
        return list(command)
    place = given["--session_dir"], given["--node_id"]
    stand_in = {
        name: subprocess.list2cmdline([sys.executable, "-IS", str(_STAND_IN), *place, *ports])
        for name, ports in _AGENTS.items()
    }
    names = [word.partition("=")[0] for word in command]
    return [
        f"{name}={stand_in[name]}" if name in stand_in else word
        for name, word in zip(names, command, strict=True)
    ]


def _skip(*args: Any, **kwargs: Any) -> None:
    """Start nothing, and print nothing."""
