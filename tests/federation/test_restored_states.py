"""Every strategy's state, taken back from a checkpoint's file by a new object: the same end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Error, Message
from named_classes import BACKBONE
from small_federation import Notes, small_sites

import strategies
from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.checkpoint import (
    Checkpoint,
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation
from fedtl.messages.phases import TRAIN
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.whole_file import write_atomically

CLIENTS = 4
# What a strategy remembers may depend on a choice of its own.
CHOICES: dict[str, list[dict[str, Any]]] = {
    "fed3r": [{}, {"ridge_penalty_from": "gcv"}],
    "balancedridge": [{"ridge_penalty_from": "gcv"}],
    "fedper": [{"head": "mlp"}],
    "textncm": [{"backbone": BACKBONE}],
}


def _sites() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = (rng.normal(size=(3, 5))[y] + rng.normal(size=(90, 5))).astype(np.float32)
    return x, y, np.split(rng.permutation(90), [10, 30, 60])


def _federated(
    config: RunConfig,
    sites: SimulatedSites,
    lone_heads: LoneHeadsOnce,
    resume: Checkpoint | None = None,
) -> tuple[Outcome, Notes]:
    """Run a federation of which client 1 trains in no odd round, and is there to be scored."""
    clients = FedtlClients(config, sites, lone_heads)

    def some(messages: list[Message], contexts: list[Context]) -> list[Message]:
        return [
            Message(Error(1, "gone"), reply_to=message)
            if message.metadata.message_type == TRAIN
            and context.node_config["partition-id"] == 1
            and int(message.content["config"]["server-round"]) % 2
            else reply
            for message, context, reply in zip(
                messages, contexts, clients(messages, contexts), strict=True
            )
        ]

    notes = Notes()
    grid = InlineGrid(CLIENTS, some, config.to_mapping(), block=CLIENTS)  # type: ignore[arg-type]
    federation = Federation(grid, config, notes, expected=sites.identity, simulated=grid)
    return federation.run(resume), notes


def _told(outcome: Outcome) -> dict[str, Any]:
    """Return what a run came to, and what its strategy says of it."""
    scores = {"federated": outcome.federated, "personal": outcome.personal or {}}
    return {
        "head": {name: value.tobytes() for name, value in outcome.arrays.items()},
        "rounds": outcome.rounds,
        "note": outcome.strategy.note,
        "finished": outcome.strategy.finished,
        "state": {k: v.tobytes() for k, v in outcome.strategy.server_state().items()},
        **{
            way: {k: (one.held_out.correct.tolist(), one.held_out.loss) for k, one in told.items()}
            for way, told in scores.items()
        },
    }


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [(name, changes) for name in strategies.available() for changes in CHOICES.get(name, [{}])],
)
def test_a_new_object_goes_on_where_the_other_was(
    strategy: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = RunConfig(
        strategy=strategy, clients=CLIENTS, rounds=3, own_data_rows="all", byzantine=0.1, **changes
    )
    x, y, parts = _sites()
    with small_sites(x, y, parts, held_out=[part[::3] for part in parts]) as sites:
        lone_heads = LoneHeadsOnce()
        whole, notes = _federated(config, sites, lone_heads)
        assert notes.checkpoints
        for checkpoint in notes.checkpoints[:2]:
            folder = tmp_path / str(checkpoint.server_round)
            write_checkpoint(folder, checkpoint, {})
            read, _ = read_checkpoint(checkpoint_paths(folder)[0])
            resumed, _ = _federated(config, sites, lone_heads, read)
            assert _told(resumed) == _told(whole), checkpoint.server_round


def test_a_file_is_on_the_disk_before_it_takes_the_others_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flushed, moved = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("flushed") or flushed(file))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: done.append("moved") or moved(path, target)
    )
    write_atomically(tmp_path / "file", b"content")
    assert done == ["flushed", "moved"]
    assert (tmp_path / "file").read_bytes() == b"content"
