"""The engine: the same replies whatever the actors do, and trouble that stays with its client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from fedtl.config import RunConfig
from fedtl.engine.block_app import BlockApp
from fedtl.engine.fedtl_clients import FedtlClients, MakeFedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.engine.ray_grid import RayGrid
from fedtl.engine.resources import Resources, actor_count
from fedtl.engine.simulation_grid import SimulationGrid
from fedtl.errors import UsageError
from fedtl.fault import Fault
from fedtl.federation.checkpoint import Checkpoint
from fedtl.federation.evaluation import ClientTallies
from fedtl.federation.outcome import Outcome
from fedtl.federation.round_row import Round
from fedtl.federation.server import Federation
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.privacy.egress import LedgerEntry
from fedtl.records import to_record
from fedtl.transfer.shared_features import SharedFeatures, Spill

CHOSEN = True

CLIENTS = 6


@pytest.fixture(scope="module")
def actors(shared_ray: None) -> Iterator[RayGrid]:
    """Return a grid of two actors, started once and opened anew by every test."""
    grid = RayGrid(actors=2, client_cpus=0.25, client_gpus=0, client_timeout=60.0)
    yield grid
    grid.close()


@dataclass(frozen=True)
class Echo:
    """Clients that reply with their partition id, and count their messages; some misbehave.

    Attributes:
        trouble: What the troubled client does: raise, stall, die, die-once, or nothing.
        client: Which client is troubled.
        marker: A file that records a death.
    """

    trouble: str = ""
    client: int = 3
    marker: str = ""

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        return [self._one(m, c) for m, c in zip(messages, contexts, strict=True)]

    def _one(self, message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        if partition == self.client:
            self._misbehave()
        seen = 1 + int(context.state["seen"]["times"]) if "seen" in context.state else 1
        context.state["seen"] = ConfigRecord({"times": seen})
        metrics = MetricRecord({"num-examples": partition, "seen": seen})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def _misbehave(self) -> None:
        if self.trouble == "raise":
            raise RuntimeError("out of film")
        if self.trouble == "stall":
            time.sleep(60)
        if self.trouble == "die" or (self.trouble == "die-once" and not Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os._exit(7)


@dataclass(frozen=True)
class Make:
    """Makes an app in an actor."""

    app: BlockApp

    def __call__(self) -> BlockApp:
        return self.app


def opened(grid: RayGrid, app: BlockApp, *, timeout: float = 60.0, block: int = 100) -> RayGrid:
    grid._timeout = timeout
    grid.open(CLIENTS, Make(app), {}, block=block)
    return grid


def ask(grid: SimulationGrid) -> list[Message]:
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    messages = [
        Message(content, dst_node_id=node, message_type="train") for node in grid.get_node_ids()
    ]
    # Handed over in an order of their own: the grid must put them right.
    return list(grid.send_and_receive(messages[::-1]))


def told(replies: Sequence[Message]) -> list[int | str]:
    return [
        reply.error.reason.partition(" (")[0]
        if reply.has_error()
        else int(reply.content["metrics"]["num-examples"])
        for reply in replies
    ]


@pytest.mark.parametrize("block", [100, 1, 2])
def test_replies_come_in_partition_order(actors: RayGrid, block: int) -> None:
    grid = opened(actors, Echo(), block=block)
    replies = ask(grid)
    assert told(replies) == list(range(CLIENTS))
    assert [reply.metadata.src_node_id for reply in replies] == list(grid.get_node_ids())


def test_inline_answers_as_ray_does() -> None:
    grid = InlineGrid(CLIENTS, Echo(), {}, block=4)
    assert told(ask(grid)) == list(range(CLIENTS))
    assert [int(reply.content["metrics"]["seen"]) for reply in ask(grid)] == [2] * CLIENTS


@pytest.mark.parametrize(
    ("trouble", "timeout", "block", "reason"),
    [
        ("raise", 30.0, 100, "RuntimeError: out of film"),
        ("stall", 1.0, 100, "no reply within client-timeout = 1 s"),
        ("die", 30.0, 1, "the process that ran it died"),
    ],
)
def test_a_troubled_client_fails_alone_and_by_name(
    actors: RayGrid, trouble: str, timeout: float, block: int, reason: str
) -> None:
    grid = opened(actors, Echo(trouble), timeout=timeout, block=block)
    expected: list[int | str] = list(range(CLIENTS))
    expected[3] = reason
    assert told(ask(grid)) == expected
    assert told(ask(opened(grid, Echo()))) == list(range(CLIENTS)), "every actor is at work again"


def test_a_death_that_was_nobodys_fault_costs_nobody_and_nothing_is_forgotten(
    actors: RayGrid, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    grid = opened(actors, Echo("die-once", marker=str(marker)), block=1)
    marker.touch()
    ask(grid)
    marker.unlink()
    replies = ask(grid)
    assert marker.exists()
    assert told(replies) == list(range(CLIENTS))
    assert [int(reply.content["metrics"]["seen"]) for reply in replies] == [2] * CLIENTS


class Notes:
    """A journal in memory."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.rows: list[Round] = []
        self.stopped = False

    def sent(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries = list(entries)

    def round(self, row: Round, rounds: int) -> None:
        self.rows.append(row)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self.kept = checkpoint

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def faulted(self, server_round: int, client: int, fault: Fault) -> None:
        self.warnings.append(fault.sentence)

    def phase(self, text: str) -> None: ...


def sites(features: SharedFeatures, labels: np.ndarray) -> SimulatedSites:
    """Clients of sizes 1, 5, 9 … so that they differ in batch widths and numbers of steps."""
    rows = np.random.default_rng(1).permutation(len(labels))
    sizes = [1, 5, 9, 40, 77, len(labels) - 132 - 40]
    cuts = np.cumsum(sizes)
    train = [np.sort(part) for part in np.split(rows[: cuts[-1]], cuts[:-1])]
    held_out = [rows[cuts[-1] :][k::CLIENTS] for k in range(CLIENTS)]
    none = np.empty(0, np.int64)
    return SimulatedSites(features, labels, train, held_out, none, none, ("a", "b", "c"), "print")


@pytest.fixture(scope="module")
def federated_data() -> Iterator[SimulatedSites]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    centres = rng.normal(size=(3, 20))
    spill = Spill()
    features = (centres[labels] + rng.normal(size=(300, 20))).astype(np.float32)
    yield sites(spill.share(features), labels)
    spill.close()


def federate(grid: SimulationGrid, config: RunConfig, data: SimulatedSites) -> Outcome:
    return Federation(grid, config, Notes(), expected=data.identity).run()


_ADVERSE = {"dropout": 0.3, "straggle": 0.5, "attack": "noise", "attackers": 0.2}


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("fedavg", {}),
        ("fedavg", {"head": "mlp"}),
        ("fedavg", {"head": "cosine"}),
        ("fedavg", {"init": "fed3r"}),
        ("fedavg", {"personalise": 2}),
        ("scaffold", _ADVERSE),
        ("ditto", _ADVERSE),
        ("apfl", {}),
        ("fedper", {"head": "mlp"}),
        ("fed3r", {}),
        ("fed3r", {"personalise": 2}),
        ("afl", {}),
        ("fedncm", {}),
        ("fedcof", {}),
        ("fedcgs", {}),
        ("fed3r", {"ridge_penalty_from": "gcv"}),
        ("balancedridge", {}),
        ("personalridge", {}),
        ("fedsoftmax", {"fraction": 1.0, "dropout": 0.3}),
        ("fedpft", {}),
        ("fedpft", {"fedpft_covariance": "diagonal"}),
    ],
)
def test_the_head_has_the_same_bytes_for_any_actors(
    actors: RayGrid, federated_data: SimulatedSites, strategy: str, changes: dict[str, Any]
) -> None:
    plain = {"clients": CLIENTS, "rounds": 3, "hidden_units": 7, "fraction": 0.7}
    config = RunConfig(strategy=strategy, **(plain | changes))
    clients = FedtlClients(config, federated_data)
    reference = federate(
        InlineGrid(CLIENTS, clients, config.to_mapping(), block=CLIENTS), config, federated_data
    )

    def ways() -> Iterator[SimulationGrid]:
        yield InlineGrid(CLIENTS, clients, config.to_mapping(), block=1)
        yield InlineGrid(CLIENTS, clients, config.to_mapping(), block=4)
        actors.open(CLIENTS, MakeFedtlClients(clients), config.to_mapping(), block=100)
        yield actors

    for grid in ways():
        outcome = federate(grid, config, federated_data)
        for name, value in reference.arrays.items():
            assert outcome.arrays[name].tobytes() == value.tobytes(), name
        assert outcome.bytes_up == reference.bytes_up
        assert outcome.failures == reference.failures
        assert _accuracies(outcome.local_only) == _accuracies(reference.local_only)
        assert _accuracies(outcome.personal) == _accuracies(reference.personal)


def _accuracies(clients: Mapping[int, ClientTallies] | None) -> dict[int, tuple[float, int]]:
    """Return accuracy and examples of each client's held-out part, which may be empty."""
    scores = {client: tallies.held_out for client, tallies in (clients or {}).items()}
    return {
        client: (own.accuracy if own.total else 0.0, own.total) for client, own in scores.items()
    }


@dataclass(frozen=True)
class Lying:
    """Fedtl's clients, of which one lies in every phase but the handshake."""

    clients: FedtlClients

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        replies = self.clients(messages, contexts)
        for message, context, reply in zip(messages, contexts, replies, strict=True):
            if context.node_config["partition-id"] == 2 and reply.has_content():
                self._lie(message, reply.content)
        return replies

    def _lie(self, message: Message, content: RecordDict) -> None:
        server_round = message.content["config"].get("server-round")
        if message.metadata.message_type == "evaluate":
            content["metrics"]["clusters"] = [1, 2, 3, 4, 5, 6]
        elif server_round == 1:
            nan = np.full((3, 20), np.nan, np.float32)
            content["arrays"] = to_record({"weight": nan, "bias": nan[:, 0]})
        elif server_round == 2:
            content["metrics"]["num-examples"] = 10**15


def test_a_lie_costs_the_liar_alone_with_and_without_actors(
    actors: RayGrid, federated_data: SimulatedSites
) -> None:
    config = RunConfig(clients=CLIENTS, rounds=3)
    app = Lying(FedtlClients(config, federated_data))
    actors.open(CLIENTS, MakeFedtlClients(app), config.to_mapping(), block=100)  # type: ignore[arg-type]
    heads = []
    for grid in (InlineGrid(CLIENTS, app, config.to_mapping(), block=CLIENTS), actors):
        notes = Notes()
        outcome = Federation(grid, config, notes, expected=federated_data.identity).run()
        said = [(server_round, reason) for server_round, _, reason in outcome.failures]
        assert {client for _, client, _ in outcome.failures} == {2}
        assert [server_round for server_round, _ in said] == [1, 2, 4]
        assert said[0][1] == "'weight' in 'arrays' is not finite"
        assert said[1][1].startswith(
            "num-examples = 1000000000000000, but the site first reported "
        )
        assert said[2][1] == "its own score: its sums over groups contradict one another"
        assert [text.partition(", ")[0] for text in notes.warnings] == [
            "Round 1",
            "Round 2",
            "Round 4",
        ]
        assert all(np.isfinite(value).all() for value in outcome.arrays.values())
        assert outcome.federated.keys() == set(range(CLIENTS)) - {2}
        heads.append(b"".join(value.tobytes() for value in outcome.arrays.values()))
    assert heads[0] == heads[1]


def test_actors_fit_the_machine() -> None:
    machine = Resources(4.0, 1.0)
    fit = {"clients": 100, "client_gpus": 0.0}
    assert actor_count(machine, client_cpus=1.0, **fit) == 4
    assert actor_count(machine, client_cpus=0.1, **fit) == 40
    assert actor_count(machine, client_cpus=3.0, **fit) == 1
    assert actor_count(machine, clients=100, client_cpus=0.5, client_gpus=0.25) == 4
    assert actor_count(machine, clients=3, client_cpus=0.5, client_gpus=0.0) == 3
    with pytest.raises(UsageError, match=r"client-cpus = 5 is more than there is: 4 CPUs"):
        actor_count(machine, client_cpus=5.0, **fit)
    with pytest.raises(UsageError, match=r"client-gpus = 2 is more than there is: 1 GPUs"):
        actor_count(machine, clients=1, client_cpus=1.0, client_gpus=2.0)
