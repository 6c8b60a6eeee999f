"""Exceptions on their way to the server: in replies, in reading them, or let through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from scripted_grid import ScriptedGrid

from fedtl.engine.inline_grid import InlineGrid
from fedtl.errors import UsageError
from fedtl.fault import Fault
from fedtl.federation.exchange import Errors, Exchange, Failure
from fedtl.privacy.egress import Declaration
from fedtl.privacy.forms import Count
from fedtl.records import to_record

PARTITIONS = {90: 0, 17: 1, 55: 2}
DECLARED = {
    "train": Declaration(
        arrays={"arrays": {"w": (3,)}}, metrics={"metrics": {"num-examples": Count()}}
    )
}


def asked(nodes: Sequence[int]) -> list[Message]:
    content = RecordDict({"config": ConfigRecord({"server-round": 4})})
    return [Message(content, dst_node_id=node, message_type="train") for node in nodes]


def trained(message: Message) -> Message:
    arrays = to_record({"w": np.zeros(3, np.float32)})
    metrics = MetricRecord({"num-examples": 7})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


class Entered:
    """What was written down."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, int, Fault]] = []

    def __call__(self, server_round: int, client: int, fault: Fault) -> None:
        self.faults.append((server_round, client, fault))


@pytest.mark.parametrize("believed", [True, False])
def test_only_clients_of_a_simulation_bring_errors_to_write_down(believed: bool) -> None:
    fault = Fault("KeyError: 'x' (mine.py, line 3)", "KeyError at mine.py, line 3", "Traceback\n")
    entered = Entered()
    grid = ScriptedGrid(lambda message: Message(Error(2, fault.text), reply_to=message))
    exchange = Exchange(grid, PARTITIONS, DECLARED, errors=Errors(entered, believed=believed))
    list(exchange.send_and_receive(asked([55])))
    assert exchange.phase.failures == [Failure(2, fault.sentence, entered=believed)]
    assert entered.faults == ([(4, 2, fault)] if believed else [])


@pytest.mark.parametrize("error", [KeyError("lost"), ValueError("in the user's own check")])
def test_an_error_of_the_servers_own_in_reading_a_reply_is_written_down(error: Exception) -> None:
    def check(kind: str, client: int, reply: RecordDict, instruction: RecordDict) -> None:
        if client == 2:
            raise error

    entered, grid = Entered(), ScriptedGrid(trained)
    exchange = Exchange(grid, PARTITIONS, DECLARED, check=check, errors=Errors(entered))
    list(exchange.send_and_receive(asked(list(PARTITIONS))))
    [(server_round, client, fault)] = entered.faults
    assert (server_round, client) == (4, 2) and "raise error" in fault.traceback
    assert exchange.phase.failures == [Failure(2, fault.sentence, entered=True)]
    assert f"({__file__}, line {check.__code__.co_firstlineno + 2})" in fault.sentence
    uncaught = Errors(entered, caught=False)
    exchange = Exchange(grid, PARTITIONS, DECLARED, check=check, errors=uncaught)
    with pytest.raises(type(error)):
        list(exchange.send_and_receive(asked(list(PARTITIONS))))


@dataclass(frozen=True)
class Raising:
    """Clients that all raise."""

    error: Exception

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        raise self.error


@pytest.mark.parametrize("caught", [True, False])
def test_what_was_foreseen_is_a_reply_in_any_case(caught: bool) -> None:
    grid = InlineGrid(2, Raising(UsageError("It is not so.")), {}, block=1, caught=caught)
    replies = list(grid.send_and_receive(asked([2, 3])))
    assert [reply.error.reason for reply in replies] == ["UsageError: It is not so."] * 2


def test_what_nobody_foresaw_is_let_through_where_nothing_is_caught() -> None:
    app = Raising(KeyError("lost"))
    with pytest.raises(KeyError, match="lost"):
        list(InlineGrid(2, app, {}, block=1, caught=False).send_and_receive(asked([2, 3])))
    replies = list(InlineGrid(2, app, {}, block=2).send_and_receive(asked([2, 3])))
    read = [Fault.read(str(reply.error.reason)) for reply in replies]
    assert all(fault and "raise self.error" in fault.traceback for fault in read)
