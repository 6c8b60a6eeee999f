"""A whole federation over a few arrays, in this process and without a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Context, Error, Message
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.outcome import Outcome
from fedtl.federation.round_row import Round
from fedtl.federation.server import Federation
from fedtl.messages.phases import HANDSHAKE
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.privacy.egress import LedgerEntry
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.shared_features import Spill

Missing = Callable[[int, int], bool]
"""Whether a client (its partition id) does not answer in a round; -1 is the handshake."""


class Notes:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []
        self.rows: list[Round] = []
        self.stopped = False
        self.checkpoints: list[Checkpoint] = []
        self.warnings: list[str] = []
        self.faults: list[tuple[int, int, Fault]] = []

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries += entries

    def round(self, row: Round, rounds: int) -> None:
        self.rows.append(row)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append(checkpoint)

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def faulted(self, server_round: int, client: int, fault: Fault) -> None:
        self.faults.append((server_round, client, fault))
        self.warned(f"Round {server_round}, client {client}: {fault.sentence}")

    def phase(self, text: str) -> None: ...


@contextmanager
def small_sites(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64]],
    *,
    classes: int | None = None,
    held_out: Sequence[NDArray[np.int64]] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[SimulatedSites]:
    """Yield clients that train on these parts of the rows; by default they hold them out, too."""
    spill = Spill()
    none = np.empty(0, np.int64)
    names = tuple(f"class-{one}" for one in range(classes or int(y.max()) + 1))
    yield SimulatedSites(
        features=spill.share(x),
        labels=y,
        train=list(parts),
        held_out=list(held_out or parts),
        test=none,
        unseen=none,
        class_names=names,
        fingerprint="print",
        groups=groups,
    )
    spill.close()


def block_of(
    x: NDArray[np.float32], y: NDArray[np.int64], parts: Sequence[NDArray[np.int64]], classes: int
) -> ClientBlock:
    """Return clients that train on these parts of the rows, on features as they are."""
    return ClientBlock.unstandardised(
        torch.from_numpy(x), torch.from_numpy(y), parts, range(len(parts)), classes
    )


def federated(
    config: RunConfig,
    sites: SimulatedSites,
    *,
    missing: Missing | None = None,
    resume: Checkpoint | None = None,
) -> tuple[Outcome, Notes]:
    """Run a federation of these sites; its clients are those of the configuration."""
    config = config.replace(clients=len(sites.train))
    clients = FedtlClients(config, sites)

    def some(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        replies = clients(messages, contexts)
        if missing is None:
            return replies
        return [
            Message(Error(1, "gone"), reply_to=message)
            if missing(_round(message), int(context.node_config["partition-id"]))
            else reply
            for message, context, reply in zip(messages, contexts, replies, strict=True)
        ]

    notes = Notes()
    grid = InlineGrid(config.clients, some, config.to_mapping(), block=config.clients)
    federation = Federation(grid, config, notes, expected=sites.identity)
    return federation.run(resume), notes


def _round(message: Message) -> int:
    if message.metadata.message_type == HANDSHAKE:
        return -1
    return int(message.content["config"]["server-round"])
