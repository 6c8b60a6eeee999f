"""Starting Flower's processes quickly, stopping what it leaves running, and the project it runs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import tomli_w
from warm_python import warm_commands

from simulations.real_sites import processes

PROJECT = Path(__file__).resolve().parents[2]


@contextmanager
def warm_flower(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have Flower's commands begin with all imported until the block ends.

    Args:
        folder: For what takes the commands' place; a short name.
        env: Further variables of what imports.
    """
    folder.mkdir()
    of_imports = processes.environment(folder) | dict(env or {})
    with warm_commands(folder, of_imports) as warm, pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_SCRIPTS", f"{warm}{os.pathsep}{processes._SCRIPTS}")
        yield


def flwr_run(config: Mapping[str, object], home: Path, folder: Path, actors: int = 2) -> str:
    """Run this project in Flower's own simulation; return what was printed.

    Args:
        config: The run's, with ``clients``.
        home: Of the SuperLink that it starts and leaves running.
        folder: Takes the scenario.
        actors: How many processes its clients share.
    """
    scenario = folder / "scenario.toml"
    scenario.write_text(tomli_w.dumps(config))
    nodes = f"num-supernodes={config['clients']} client-resources-num-cpus=1 "
    nodes += f"init-args-num-cpus={actors}"
    command = ["flwr", "run", str(PROJECT), "local", "--stream", "-c", str(scenario)]
    # The folder where Ray looks for one that runs already, of another test or of a user's.
    with tempfile.TemporaryDirectory() as ray:
        done = subprocess.run(
            [*command, "--federation-config", nodes],
            env=processes.environment(home) | {"RAY_TMPDIR": ray},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    return done.stdout + done.stderr


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
