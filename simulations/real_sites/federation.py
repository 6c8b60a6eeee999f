"""A SuperLink and one SuperNode a site, with TLS and keys, all on this machine."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fedtl.config_key import Scalar
from fedtl.errors import FedtlError
from simulations.real_sites.keys import (
    AUTHORITY,
    CERTIFICATE,
    SERVER_KEY,
    Told,
    make_certificates,
    make_key,
)
from simulations.real_sites.processes import environment, free_port, process, wait_until_healthy

CONNECTION, KEYS = "federation", "keys"


def _unheard(line: str) -> None:
    """Ignore what a command printed."""


@dataclass(frozen=True)
class Ran:
    """The outcome of a run.

    Attributes:
        printed: What the server printed.
        status: Flower's word for it, such as ``finished:completed``.
    """

    printed: str
    status: str


@dataclass(frozen=True)
class Federation:
    """What runs.

    Attributes:
        folder: Keys, logs and home folders of all processes.
        port: The server's.
        env: Environment of commands that talk to the server.
        told: Told each command.
    """

    folder: Path
    port: int
    env: Mapping[str, str]
    told: Told

    @property
    def authority(self) -> Path:
        """The certificate by which sites know the server."""
        return self.folder / AUTHORITY

    def supernode(self, node_config: Mapping[str, Scalar], *safety: str) -> list[str]:
        """Return the command of a site without its key: with ``safety``, its flags."""
        return [
            "flower-supernode",
            *(safety or ("--root-certificates", str(self.authority))),
            *("--superlink", f"127.0.0.1:{self.port}"),
            *("--host", "127.0.0.1", "--port", str(free_port())),
            *("--node-config", _pairs(node_config)),
        ]

    def register(self, name: str) -> None:
        """Let the site of this name take part, by its public key.

        Raises:
            FedtlError: The server does not take the key.
        """
        public = f"{self.folder / KEYS / name}.pub"
        self._flwr("supernode", "register", public, CONNECTION, "--name", name)

    def online(self) -> int:
        """Return how many sites are connected."""
        listed = self._flwr("supernode", "list", CONNECTION, "--format", "json")
        return listed.count('"online"')

    def run(self, config: Mapping[str, Scalar], app: Path, heard: Told = _unheard) -> Ran:
        """Submit a run of an app's folder and wait for its end.

        Args:
            config: The run's keys and values.
            app: The folder.
            heard: Told each line that the server prints, as it comes.

        Raises:
            FedtlError: It cannot be submitted.
        """
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".toml") as scenario:
            scenario.write(tomli_w.dumps(dict(config)))
            scenario.flush()
            words = ("run", str(app), CONNECTION, "--stream", "-c", scenario.name)
            printed = self._flwr(*words, heard=heard)
        started = re.search(r"started run (\d+)", printed)
        if started is None:
            raise FedtlError(f"flwr run started nothing: {' '.join(printed.split())[:500]}")
        # flwr run exits with 0 whatever became of the run.
        number = started.group(1)
        listed = self._flwr("list", CONNECTION, "--run-id", number, "--format", "json")
        return Ran(printed, str(json.loads(listed)["runs"][0]["status"]))

    def _flwr(self, *words: str, heard: Told = _unheard) -> str:
        """Run a command of Flower's; return what it printed, warnings left out."""
        self.told(shlex.join(["flwr", *words]))
        with (
            tempfile.TemporaryFile("w+") as warned,
            subprocess.Popen(
                ["flwr", *words],
                env=dict(self.env),
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=warned,
                text=True,
            ) as command,
        ):
            assert command.stdout is not None
            printed = ""
            for line in command.stdout:
                printed += line
                heard(line.rstrip())
            if command.wait():
                warned.seek(0)
                why = " ".join(warned.read().split())[:500]
                raise FedtlError(f"flwr {words[0]} failed: {why}")
        return printed


@contextmanager
def server(folder: Path, told: Told, env: Mapping[str, str] | None = None) -> Iterator[Federation]:
    """Make certificates and run a SuperLink that accepts registered keys only.

    Args:
        folder: For keys, logs and home folders of all processes.
        told: Told each command.
        env: Further variables of the server's environment.
    """
    make_certificates(folder, told)
    port, home = free_port(), folder / "server-home"
    env = environment(home) | dict(env or {})
    command = [
        *("flower-superlink", "--host", "127.0.0.1", "--port", str(port)),
        *("--ssl-ca-certfile", str(folder / AUTHORITY)),
        *("--ssl-certfile", str(folder / CERTIFICATE), "--ssl-keyfile", str(folder / SERVER_KEY)),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
    ]
    connection = {"address": f"127.0.0.1:{port}", "root-certificates": str(folder / AUTHORITY)}
    (home / "config.toml").write_text(tomli_w.dumps({"superlink": {CONNECTION: connection}}))
    told(shlex.join(command))
    with process(command, env, folder / "server") as started:
        wait_until_healthy(started, port, folder / AUTHORITY)
        yield Federation(folder, port, env, told)


@contextmanager
def sites(
    federation: Federation,
    node_configs: Mapping[str, Mapping[str, Scalar]],
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Make and register the key of every site and run its SuperNode.

    Args:
        federation: What they connect to.
        node_configs: By name of the site, in the order of their partition ids.
        env: Further variables of the sites' environments.
    """
    folder = federation.folder
    (folder / KEYS).mkdir()
    for name in node_configs:
        make_key(folder / KEYS, name, federation.told)
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        list(pool.map(federation.register, node_configs))
        for name, own in node_configs.items():
            command = federation.supernode(own)
            command += ["--auth-supernode-private-key", str(folder / KEYS / name)]
            federation.told(shlex.join(command))
            its = environment(folder / f"{name}-home") | dict(env or {})
            stack.enter_context(process(command, its, folder / f"{name}-site"))
        yield


def _pairs(node_config: Mapping[str, Scalar]) -> str:
    """Return a node config as Flower's command line takes it."""
    return " ".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in node_config.items()
    )
