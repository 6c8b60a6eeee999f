"""Strategies of a user's own, with bugs in them: a file that is written where a command starts."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''\
import numpy as np

from strategies.fedavg import FedAvg


class InClient(FedAvg):
    """Client 1 fails in every round."""

    def client_train(self, block, received, server_round):
        if 1 in block.partition_ids:
            share = 1 / 0  # bug of the client
        return super().client_train(block, received, server_round)


class InServer(FedAvg):
    """The server fails in round 2."""

    def aggregate(self, server_round, head, replies):
        if server_round == 2:
            head = head["lost"]  # bug of the server
        return super().aggregate(server_round, head, replies)


class Unsolved(FedAvg):
    """Client 1 has a system without a solution, in every round."""

    def client_train(self, block, received, server_round):
        if 1 in block.partition_ids:
            np.linalg.inv(np.zeros((2, 2)))  # bug of the solver
        return super().client_train(block, received, server_round)


class UnsolvedByServer(FedAvg):
    """The server has, in round 2."""

    def aggregate(self, server_round, head, replies):
        if server_round == 2:
            np.linalg.inv(np.zeros((2, 2)))  # bug of the total
        return super().aggregate(server_round, head, replies)


class Stopping(FedAvg):
    """Stops at the server, in round 2."""

    def aggregate(self, server_round, head, replies):
        if server_round == 2:
            breakpoint()
        return super().aggregate(server_round, head, replies)


class Interrupted(FedAvg):
    """As if the user had had enough of it."""

    def aggregate(self, server_round, head, replies):
        raise KeyboardInterrupt
'''


def write_strategies(folder: Path, module: str) -> Path:
    """Write the module and return its file; a process imports a name once."""
    path = folder / f"{module}.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def place_of(path: Path, half: str) -> str:
    """Return file and line of the bug of the ``client``, ``server``, ``solver`` or ``total``."""
    lines = path.read_text(encoding="utf-8").splitlines()
    [line] = [at for at, text in enumerate(lines, start=1) if f"bug of the {half}" in text]
    return f"{path}, line {line}"
