"""How many real sites a run needs, and what becomes of one that has too few."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Error, Message
from scripted_grid import ScriptedGrid
from small_federation import Notes, small_sites

from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.flower_internals import is_simulation
from fedtl.engine.inline_grid import InlineGrid
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.quorum import Quorum
from fedtl.federation.server import Federation
from fedtl.messages import phases

Gone = Callable[[str, int], bool]
"""Whether a client (its partition id) is gone when a kind of message is sent."""


def _run(config: RunConfig, gone: Gone) -> Notes:
    """Run a federation of real sites, as a server takes them, some of which do not answer."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 2
    parts = np.array_split(np.arange(80), config.clients)
    with small_sites(x, y, parts) as sites:
        clients = FedtlClients(config, sites)

        def some(messages, contexts):  # type: ignore[no-untyped-def]
            replies = clients(messages, contexts)
            kind = messages[0].metadata.message_type
            return [
                Message(Error(5, "Node Unavailable"), reply_to=message)
                if gone(kind, int(context.node_config["partition-id"]))
                else reply
                for message, context, reply in zip(messages, contexts, replies, strict=True)
            ]

        notes, block = Notes(), config.clients
        grid = InlineGrid(config.clients, some, config.to_mapping(), block=block)
        quorum = Quorum.of(config)
        Federation(grid, config, notes, expected=sites.identity, quorum=quorum).run()
    return notes


@pytest.mark.parametrize(
    ("fewest", "asked", "needed"),
    [(0, 2, 2), (0, 3, 2), (0, 4, 2), (0, 5, 3), (0, 9, 5), (4, 9, 4)],
)
def test_half_of_those_asked_are_needed_or_as_many_as_is_said(
    fewest: int, asked: int, needed: int
) -> None:
    assert Quorum(fewest, 1.0).needed(asked) == needed


@pytest.mark.parametrize("kind", [phases.HANDSHAKE, phases.TRAIN, phases.EVALUATE])
def test_one_hospital_alone_never_completes(kind: str) -> None:
    config = RunConfig(clients=3, rounds=2)
    with pytest.raises(FedtlError, match=r"Only 1 of 3 sites .* 2 are needed .*Unavailable"):
        _run(config, lambda asked, client: asked == kind and client > 0)


def test_a_closing_short_of_sites_keeps_the_head_and_names_them() -> None:
    config = RunConfig(clients=5, rounds=2, min_sites=4)
    notes = _run(config, lambda kind, client: kind == phases.EVALUATE and client in (1, 3, 4))
    [said] = [text for text in notes.warnings if "scored the final head" in text]
    assert said.startswith("Only 2 of 5 sites scored the final head, but a round needs 4; every")
    assert said.endswith("but there are no scores of client 1, 3, 4.")
    notes = _run(config, lambda kind, client: kind == phases.EVALUATE and client == 1)
    assert not [text for text in notes.warnings if "scored the final head" in text]
    with pytest.raises(FedtlError, match=r"Only 3 of 5 sites answered.*\(min-sites = 4\)"):
        _run(config, lambda kind, client: kind == phases.TRAIN and client in (1, 3))


def test_a_round_of_enough_sites_goes_on_without_the_others() -> None:
    notes = _run(
        RunConfig(clients=3, rounds=2), lambda kind, client: kind == "train" and client > 1
    )
    assert [row.clients for row in notes.rows] == [3, 3]
    with pytest.raises(FedtlError, match=r"Only 2 of 3 sites answered.*\(min-sites = 3\)"):
        _run(
            RunConfig(clients=3, rounds=2, min_sites=3),
            lambda kind, client: kind == "train" and client > 1,
        )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RunConfig(clients=1), "clients = 1, but at least 2 real sites are needed"),
        (RunConfig(clients=5, min_sites=1), "min-sites = 1, but at least 2 real sites"),
        (RunConfig(clients=5, min_sites=6), "min-sites = 6 is more than clients = 5"),
    ],
)
def test_what_can_never_be_enough_is_refused(config: RunConfig, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Quorum.of(config)


def test_a_round_waits_for_enough_sites_until_its_time_is_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtl.federation.quorum._POLL_SECONDS", 0.01)
    told: list[str] = []
    grid = ScriptedGrid(lambda message: None, nodes=[[1], [1, 7], [1, 7, 2]])
    Quorum(0, 60).gather(grid, [1, 2, 3], told.append)
    assert told == ["waiting for sites: 1 of 3 are connected"]
    alone = ScriptedGrid(lambda message: None, nodes=[[1, 7]])
    with pytest.raises(FedtlError, match=r"Only 1 of 3 sites connected after 0 s"):
        Quorum(0, 0.01).gather(alone, [1, 2, 3], told.append)


def test_only_flowers_own_simulation_does_without_a_quorum() -> None:
    from flwr.superlink.grid.http_grid import HttpGrid
    from flwr.superlink.grid.inmemory_grid import InMemoryGrid

    assert is_simulation(InMemoryGrid.__new__(InMemoryGrid))
    assert not is_simulation(HttpGrid.__new__(HttpGrid))
    assert not is_simulation(ScriptedGrid(lambda message: None))
