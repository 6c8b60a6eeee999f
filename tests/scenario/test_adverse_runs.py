"""Adversity in whole federations: what it does to what is sent, and how often."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from numpy.typing import NDArray
from small_federation import Notes, small_sites

from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.engine.fedtl_clients import FedtlClients
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.server import Federation
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.records import from_record
from fedtl.scenario.adversity import attackers

CLASSES, CLIENTS, EACH = 3, 8, 24
Sent = dict[tuple[int, int], dict[str, NDArray[Any]]]
"""The arrays that left, by round and client."""


@contextmanager
def sites() -> Iterator[SimulatedSites]:
    rng = np.random.default_rng(2)
    y = rng.integers(0, CLASSES, CLIENTS * EACH)
    x = (rng.normal(size=(CLASSES, 5))[y] + rng.normal(size=(len(y), 5))).astype(np.float32)
    with small_sites(x, y, np.split(np.arange(len(y)), CLIENTS)) as found:
        yield found


def ran(config: RunConfig, sites: SimulatedSites) -> tuple[Sent, list[dict[str, Any]], Notes]:
    """Return what left in the rounds, the heads that were sent, by round, and the journal."""
    sent: Sent = {}
    heads: list[dict[str, Any]] = [{} for _ in range(config.rounds + 2)]
    clients = FedtlClients(config, sites, LoneHeadsOnce())

    def watched(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        replies = clients(messages, contexts)
        for message, reply, context in zip(messages, replies, contexts, strict=True):
            if message.metadata.message_type != "train" or not reply.has_content():
                continue
            number = int(message.content["config"]["server-round"])
            heads[number] = from_record(message.content["arrays"])
            record = reply.content["statistics" if "statistics" in reply.content else "arrays"]
            sent[number, int(context.node_config["partition-id"])] = from_record(record)
        return replies

    notes = Notes()
    grid = InlineGrid(config.clients, watched, config.to_mapping(), block=config.clients)
    Federation(grid, config, notes, expected=sites.identity).run()
    return sent, heads, notes


def config(strategy: str = "fedavg", **changes: Any) -> RunConfig:
    return RunConfig(strategy=strategy, clients=CLIENTS, **{"rounds": 3, **changes})


# --- stragglers -----------------------------------------------------------------------------------


def test_stragglers_send_what_fewer_steps_come_to() -> None:
    """FedNova tells how many steps its clients took: without momentum, the sum of their weights."""
    plain = {"momentum": 0.0, "local_epochs": 5, "batch_size": 8, "rounds": 20}
    whole = 5 * EACH // 8
    with sites() as found:
        steady, _, _ = ran(config("fednova", **plain), found)
        assert {float(one["step-weight"]) for one in steady.values()} == {whole}
        sent, _, _ = ran(config("fednova", straggle=0.4, **plain), found)
    steps = np.array(
        [[float(sent[t, k]["step-weight"]) for k in range(CLIENTS)] for t in range(1, 21)]
    )
    assert steps.min() >= 1 and steps.max() == whole
    assert np.array_equal(steps, np.rint(steps))
    # A straggler's part is uniform on [0, 1): less than all of it, always.
    late = steps < whole
    expected, trials = 0.4, steps.size
    assert abs(late.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)
    # floor(u · 15) for uniform u, one at least, has the mean (1 + 1 + 2 + … + 14) / 15.
    mean = (1 + sum(range(1, 15))) / 15
    assert abs(steps[late].mean() - mean) < 4 * 4.2 / math.sqrt(late.sum())
    assert len({tuple(row) for row in late.tolist()}) > 10, "not the same clients every round"
    assert 0 < late.any(0).sum() == CLIENTS, "nor one client alone"
    assert not (late == late[:, :1]).all(), "nor all of a round"


# --- hostile clients ------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "count"), [(0.25, 2), (0.5, 4)])
def test_flipped_labels_turn_a_hostile_clients_class_sums_round(share: float, count: int) -> None:
    with sites() as found:
        honest, _, _ = ran(config("fed3r"), found)
        flipped, _, _ = ran(config("fed3r", attack="label-flip", attackers=share), found)
    hostile = attackers(config(attack="label-flip", attackers=share))
    assert len(hostile) == count
    for client in range(CLIENTS):
        before, after = honest[1, client]["class-sums"], flipped[1, client]["class-sums"]
        expected = before[:, ::-1] if client in hostile else before
        np.testing.assert_array_equal(after, expected)
        np.testing.assert_array_equal(flipped[1, client]["gram"], honest[1, client]["gram"])


def test_the_first_rounds_lies_are_of_the_stated_size_and_direction() -> None:
    """Only in the first round do honest and attacked runs send clients the same head."""
    changes = {"attackers": 0.25, "attack_strength": 3.0}
    with sites() as found:
        honest, heads, _ = ran(config(), found)
        runs = {
            attack: ran(config(attack=attack, **changes), found)[0]
            for attack in ("sign-flip", "scale", "noise")
        }
    hostile = attackers(config(attack="scale", **changes))
    for client, name in itertools.product(range(CLIENTS), ("weight", "bias")):
        start, found_by_it = heads[1][name], honest[1, client][name]
        change = found_by_it - start
        told = {attack: sent[1, client][name] - start for attack, sent in runs.items()}
        if client not in hostile:
            for one in told.values():
                np.testing.assert_array_equal(one, change)
            continue
        np.testing.assert_allclose(told["sign-flip"], -3 * change, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(told["scale"], 3 * change, rtol=1e-4, atol=1e-6)
        size = np.sqrt(np.square(told["noise"]).mean() / np.square(change).mean())
        assert 3 * 0.3 < size < 3 * 2.5


def test_noise_is_drawn_anew_for_every_client_and_round() -> None:
    with sites() as found:
        sent, heads, _ = ran(config(attack="noise", attackers=0.5, attack_strength=50.0), found)
    hostile = sorted(attackers(config(attack="noise", attackers=0.5)))
    drawn = []
    for server_round, client in itertools.product((1, 2, 3), hostile):
        lie = (sent[server_round, client]["weight"] - heads[server_round]["weight"]).ravel()
        drawn.append(lie / np.linalg.norm(lie))
    cosines = np.array(drawn) @ np.array(drawn).T
    np.fill_diagonal(cosines, 0)
    # Of 66 pairs of random directions in 15 dimensions, none is nearly the same.
    assert np.abs(cosines).max() < 0.95


# --- dropout --------------------------------------------------------------------------------------


def test_as_many_drop_out_as_was_asked_for_and_not_the_same() -> None:
    rate, rounds = 0.3, 40
    with sites() as found:
        sent, _, notes = ran(config(dropout=rate, rounds=rounds), found)
    there = np.array([[(t, k) in sent for k in range(CLIENTS)] for t in range(1, rounds + 1)])
    error = math.sqrt(rate * (1 - rate) / there.size)
    assert abs((~there).mean() - rate) < 4 * error
    for rates in ((~there).mean(0), (~there).mean(1)):
        own = math.sqrt(rate * (1 - rate) * len(rates) / there.size)
        assert np.abs(rates - rate).max() < 4.5 * own
    assert len({tuple(row) for row in there.tolist()}) > rounds // 2
    assert [len(row.failed) for row in notes.rows] == (~there).sum(1).tolist()
    assert notes.warnings == [], "what is intended is no warning"
