"""Starting and stopping Flower's own processes, on loopback and in folders of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which Flower neither phones home nor installs anything."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def process(command: list[str], env: Mapping[str, str], folder: Path) -> Iterator[Path]:
    """Run a command in its own session until the block ends; yield the file it logs to."""
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
        try:
            yield log
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, 9)
                child.wait()


def wait_until_healthy(port: int, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"nothing healthy on port {port} after {patience} s")


def online_nodes(connection: str, env: Mapping[str, str], folder: Path) -> int:
    done = subprocess.run(
        ["flwr", "supernode", "list", connection, "--format", "json"],
        env=dict(env),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.count('"online"')


def stop_daemon(home: Path) -> None:
    """Stop the SuperLink that ``flwr run`` started for itself and left running."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            env = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"FLWR_HOME={home}".encode() in env and b"flower-superlink" in command:
            os.kill(int(entry.name), 15)
