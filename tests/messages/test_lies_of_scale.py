"""Numbers out of all proportion, each of them possible; and totals that may not be kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Error, RecordDict
from lying_clients import CLIENTS, LIAR, Lie, federated_with

from fedtl.config import RunConfig
from fedtl.errors import ImpossibleTotalError
from fedtl.messages import phases
from fedtl.records import array_record, from_record, to_record
from strategies.base import Arrays, Reply
from strategies.base.second_moments import symmetric, upper_triangle
from strategies.fedavgm import FedAvgM

BAD_ROUND = 2


def _config(strategy: str, **changes: Any) -> RunConfig:
    return RunConfig(strategy=strategy, **({"rounds": 3, "batch_size": 4} | changes))


def _of_larger_features(times: float) -> Lie:
    """Return the lie of a client whose features are so many times as large."""

    def lie(kind: str, content: RecordDict) -> RecordDict:
        name = {phases.MOMENTS: "moments", phases.TRAIN: "statistics"}.get(kind, "")
        if name not in content:
            return content
        found: Arrays = dict(from_record(array_record(content, name)))
        if kind == phases.MOMENTS:
            found = {"total": found["total"] * times, "squares": found["squares"] * times**2}
        else:
            width = len(found["class-sums"])
            scale = np.append(np.full(width - 1, times), 1.0)
            gram = symmetric(found["gram"], width).numpy() * np.outer(scale, scale)
            found = {
                "gram": upper_triangle(torch.from_numpy(gram)),
                "class-sums": found["class-sums"] * scale[:, None],
            }
        changed = RecordDict(dict(content))
        changed[name] = to_record(found)
        return changed

    return lie


@pytest.mark.parametrize(
    ("strategy", "kind"), [("fed3r", phases.TRAIN), ("fedavg", phases.MOMENTS)]
)
def test_others_are_asked_again_without_a_client_out_of_all_proportion(
    strategy: str, kind: str
) -> None:
    outcome, notes = federated_with(_of_larger_features(1e5), _config(strategy))

    def silent(asked: str, content: RecordDict) -> RecordDict | Error:
        return Error(1, "gone") if asked == kind else content

    without, _ = federated_with(silent, _config(strategy))
    for name, array in without.arrays.items():
        np.testing.assert_array_equal(outcome.arrays[name], array)
    [(server_round, client, reason)] = outcome.failures
    assert (server_round, client) == (int(kind == phases.TRAIN), LIAR)
    assert "times the median of all clients', so the others were asked again" in reason
    # Who was left out of one sum is asked again later.
    assert outcome.federated.keys() == set(range(CLIENTS))
    asked = [e for e in notes.entries if e.server_round == server_round and e.direction == "down"]
    twice = {
        client: sum(e.client == client and e.record == "config" for e in asked)
        for client in (0, LIAR)
    }
    handshake = int(kind == phases.MOMENTS)
    assert twice[0] - twice[LIAR] == 1 and twice[LIAR] == 1 + handshake


def test_a_client_far_from_the_others_is_told_of_once() -> None:
    outcome, notes = federated_with(_of_larger_features(300.0), _config("fedavg"))
    assert not outcome.failures
    [told] = [text for text in notes.warnings if "times the median" in text]
    assert told.startswith(f"Round 0, client {LIAR}: its numbers are ")
    assert not federated_with(_of_larger_features(3.0), _config("fedavg"))[1].warnings


class Wild(FedAvgM):
    """FedAvgM, but for what comes of one round."""

    factor = 1e12

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return a head that may not be kept in one round, and remember as much."""
        found = super().aggregate(server_round, head, replies)
        if server_round != BAD_ROUND or found is None:
            return found
        self._moments = {name: value * self.factor for name, value in self._moments.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            return {name: (value * self.factor).astype(np.float32) for name, value in found.items()}


class Endless(Wild):
    """Wild, and not finite."""

    factor = np.inf


class Quiet(FedAvgM):
    """FedAvgM that skips the round in which Wild's total is none."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the head as it was in that round."""
        if server_round != BAD_ROUND:
            return super().aggregate(server_round, head, replies)
        for _ in replies:
            continue
        return head


class Singular(FedAvgM):
    """A strategy whose sums have no solution in one round."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Raise in one round."""
        if server_round == BAD_ROUND:
            raise ImpossibleTotalError("What clients sent is none.")
        return super().aggregate(server_round, head, replies)


@pytest.mark.parametrize(
    ("wild", "said"),
    [
        (Wild, "the resulting head has norm "),
        (Endless, "the resulting head is not finite"),
        (Singular, "What clients sent is none"),
    ],
)
def test_a_round_with_an_impossible_total_is_taken_back(wild: type, said: str) -> None:
    outcome, notes = federated_with(None, _config(f"{__name__}:{wild.__name__}"))
    expected, _ = federated_with(None, _config(f"{__name__}:Quiet"))
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(outcome.arrays[name], array)
    [told] = notes.warnings
    assert told.startswith(f"Round {BAD_ROUND} is taken back: {said}")
    assert "; the largest contributions came from client " in told
    assert len(notes.rows) == outcome.rounds == 3
