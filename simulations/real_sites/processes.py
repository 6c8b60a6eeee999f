"""Starting and stopping Flower's own processes, on loopback and in folders of their own."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedtl.errors import FedtlError
from fedtl.interruption import in_hand

_SCRIPTS = Path(sys.executable).parent
_ENDS_WITHIN = 20


@dataclass(frozen=True)
class Started:
    """A process that runs.

    Attributes:
        child: The process.
        log: The file that it writes to.
    """

    child: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which Flower sends no usage data and installs nothing."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{_SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def process(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Iterator[Started]:
    """Run a command in its own session until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def end() -> str:
            child.terminate()
            return ""

        try:
            # All are told at once if the command that started them is interrupted.
            with in_hand(end):
                yield Started(child, log)
        finally:
            end()
            try:
                child.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            with suppress(ProcessLookupError):  # what it started and left behind
                os.killpg(child.pid, 9)


def wait_until_healthy(started: Started, port: int, authority: Path, patience: float = 60) -> None:
    """Wait until the process answers over TLS, with a certificate that ``authority`` signed.

    Raises:
        FedtlError: It ended, or does not answer after ``patience`` seconds.
    """
    context = ssl.create_default_context(cafile=str(authority))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and started.child.poll() is None:
        try:
            url = f"https://127.0.0.1:{port}/health"
            with urllib.request.urlopen(url, timeout=2, context=context):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise FedtlError(f"Nothing answers on port {port}; {started.log} says why.")
