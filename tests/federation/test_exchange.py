"""One order, every failure named and every byte counted, whatever the network does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_res_message
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_grid import Answer, ScriptedGrid

from fedtl.federation.exchange import Exchange, Failure, Phase
from fedtl.messages.failure_codes import DROPPED_OUT
from fedtl.privacy.egress import Declaration
from fedtl.privacy.forms import Count
from fedtl.records import from_record, to_record

_DECLARED = {
    "train": Declaration(
        arrays={"arrays": {"w": (3,)}}, metrics={"metrics": {"num-examples": Count()}}
    )
}
# Node ids come in an order that is not the partitions'.
_PARTITIONS = {90: 0, 17: 1, 55: 2, 3: 3, 41: 4}


def _content(value: float) -> RecordDict:
    return RecordDict(
        {
            "arrays": to_record({"w": np.full(3, value, np.float32)}),
            "metrics": MetricRecord({"num-examples": 7}),
        }
    )


def _trained(message: Message) -> Message:
    """Answer as a client should, with its partition id as its weights."""
    return Message(_content(_PARTITIONS[message.metadata.dst_node_id]), reply_to=message)


def _unavailable(message: Message) -> Message:
    """Answer as Flower's SuperLink does for a node that is gone; its own id is the source's."""
    return create_message_error_unavailable_res_message(message.metadata, "node_unavail")


def _npy_bytes(*arrays: np.ndarray[Any, Any]) -> int:
    total = 0
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        total += len(file.getvalue())
    return total


def _exchange(
    answer: Answer, arrival: list[int] | None = None, standardisation: ArrayRecord | None = None
) -> tuple[Exchange, ScriptedGrid]:
    grid = ScriptedGrid(answer, arrival=arrival or [])
    exchange = Exchange(grid, _PARTITIONS, _DECLARED)
    exchange.standardisation = standardisation
    return exchange, grid


def _instructions(nodes: list[int], server_round: int = 4) -> list[Message]:
    arrays = to_record({"w": np.zeros(3, np.float32)})
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": server_round})})
    return [Message(content, dst_node_id=node, message_type="train") for node in nodes]


def _sent_to(grid: ScriptedGrid, replies: list[Message]) -> list[int]:
    """Return the partition id that each reply answers for."""
    node_of = {m.metadata.message_id: m.metadata.dst_node_id for m in grid.sent}
    return [_PARTITIONS[node_of[reply.metadata.reply_to_message_id]] for reply in replies]


def _train(answer: Answer, **kwargs: Any) -> tuple[list[Message], Phase]:
    exchange, grid = _exchange(answer, **kwargs)
    replies = list(exchange.send_and_receive(_instructions(list(_PARTITIONS))))
    assert _sent_to(grid, replies) == [0, 1, 2, 3, 4]
    return replies, exchange.phase


def test_nodes_are_listed_by_partition_id() -> None:
    exchange, _ = _exchange(_trained)
    assert list(exchange.get_node_ids()) == [90, 17, 55, 3, 41]


@settings(deadline=None)
@given(
    nodes=st.permutations(sorted(_PARTITIONS)),
    arrival=st.permutations(range(5)),
    silent=st.sets(st.sampled_from(sorted(_PARTITIONS))),
    gone=st.sets(st.sampled_from(sorted(_PARTITIONS))),
)
def test_order_failures_and_bytes_do_not_depend_on_the_network(
    nodes: list[int], arrival: list[int], silent: set[int], gone: set[int]
) -> None:
    def answer(message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        if node in silent:
            return None
        return _unavailable(message) if node in gone else _trained(message)

    exchange, grid = _exchange(answer, arrival)
    replies = list(exchange.send_and_receive(_instructions(nodes)))
    phase = exchange.phase

    assert phase.clients == [0, 1, 2, 3, 4]
    assert _sent_to(grid, replies) == [0, 1, 2, 3, 4]
    failed = {_PARTITIONS[node] for node in silent | gone}
    assert [place for place, reply in enumerate(replies) if reply.has_error()] == sorted(failed)
    assert [failure.client for failure in phase.failures] == sorted(failed)
    for failure in phase.failures:
        never = failure.client in {_PARTITIONS[node] for node in silent}
        assert ("no reply in time" if never else "Node Unavailable") in failure.reason
    assert sorted(phase.metrics) == [client for client in range(5) if client not in failed]
    for client in phase.metrics:
        arrays = replies[client].content.array_records["arrays"]
        assert arrays["w"].numpy().tolist() == [client] * 3

    one = _npy_bytes(np.zeros(3, np.float32)) + 8
    assert (phase.bytes_down, phase.bytes_up) == (5 * one, (5 - len(failed)) * one)
    for direction, total in (("down", phase.bytes_down), ("up", phase.bytes_up)):
        assert total == sum(e.bytes for e in phase.entries if e.direction == direction)
    assert {entry.server_round for entry in phase.entries} == {4}


def test_a_reply_is_passed_on_as_soon_as_its_turn_has_come() -> None:
    exchange, grid = _exchange(_trained, arrival=[1, 0, 2, 4, 3])
    replies = exchange.send_and_receive(_instructions(list(_PARTITIONS)))
    seen = []
    for reply in replies:
        seen.append((_sent_to(grid, [reply])[0], grid.asked))
    assert seen == [(0, 2), (1, 2), (2, 3), (3, 5), (4, 5)]


def test_the_ledger_names_every_record() -> None:
    _, phase = _train(_trained)
    [arrays, config] = [e for e in phase.entries if (e.client, e.direction) == (2, "down")]
    assert (arrays.record, arrays.shape) == ("arrays", "w[3]")
    assert (config.record, config.shape, config.bytes) == ("config", "server-round", 8)
    records = [(e.record, e.bytes) for e in phase.entries if (e.client, e.direction) == (2, "up")]
    assert records == [("arrays", _npy_bytes(np.zeros(3, np.float32))), ("metrics", 8)]


def _with(record: str, value: Any) -> RecordDict:
    content = _content(0.0)
    content[record] = value
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_content(float("nan")), "'w' in 'arrays' is not finite"),
        (_content(float("inf")), "'w' in 'arrays' is not finite"),
        (_with("arrays", to_record({"w": np.ones(4)})), "has shape (4,) where (3,)"),
        (_with("arrays", to_record({"w": np.ones(3), "v": np.ones(3)})), "carries v, w"),
        (_with("images", to_record({"x": np.ones(9)})), "'images' is not declared"),
        (_with("metrics", MetricRecord({"age": 3})), "age in 'metrics'"),
        (_with("metrics", MetricRecord({})), "'metrics' lacks num-examples"),
        (_with("metrics", ConfigRecord({"num-examples": 7})), "'metrics' is not declared"),
        (
            _with("metrics", MetricRecord({"num-examples": -1})),
            "num-examples in 'metrics' is -1, which is not",
        ),
        (_with("metrics", MetricRecord({"num-examples": 7.5})), "is 7.5, which is not a count"),
        (_with("metrics", MetricRecord({"num-examples": [7]})), "is [7], which is not a count"),
        (RecordDict({}), "lacks the record"),
        (
            _with("arrays", ArrayRecord({"w": Array("float32", (3,), "numpy.ndarray", b"")})),
            "NPY",
        ),
        (
            _with("arrays", ArrayRecord({"w": Array("nonsense", (3,), "numpy.ndarray", b"\x93N")})),
            "nonsense",
        ),
    ],
)
def test_an_unusable_reply_costs_its_own_client_alone(content: RecordDict, said: str) -> None:
    def answer(message: Message) -> Message:
        bad = _PARTITIONS[message.metadata.dst_node_id] == 3
        return Message(content, reply_to=message) if bad else _trained(message)

    replies, phase = _train(answer)
    assert [reply.has_error() for reply in replies] == [False, False, False, True, False]
    [failure] = phase.failures
    assert failure.client == 3
    assert said in failure.reason
    assert sorted(phase.metrics) == [0, 1, 2, 4]


def test_what_was_refused_has_crossed_the_border_all_the_same() -> None:
    stolen = np.ones(1000)

    def answer(message: Message) -> Message:
        content = _with("images", to_record({"x": stolen}))
        return Message(content, reply_to=message)

    _, phase = _train(answer)
    on_ledger = [e.bytes for e in phase.entries if e.record == "images"]
    assert on_ledger == [_npy_bytes(stolen)] * 5


def test_a_client_that_raised_is_named_with_its_reason() -> None:
    def answer(message: Message) -> Message:
        return Message(Error(2, "disk on fire"), reply_to=message)

    _, phase = _train(answer)
    assert phase.failures == [Failure(client, "disk on fire") for client in range(5)]


def test_only_the_scenario_can_have_a_client_drop_out() -> None:
    def answer(message: Message) -> Message:
        partition = _PARTITIONS[message.metadata.dst_node_id]
        return Message(Error(2 if partition == 2 else DROPPED_OUT, "gone"), reply_to=message)

    grid = ScriptedGrid(answer)
    exchange = Exchange(grid, _PARTITIONS, _DECLARED, drops_out=lambda r, c: r == 4 and c in (1, 2))
    list(exchange.send_and_receive(_instructions(list(_PARTITIONS))))
    assert [failure.intended for failure in exchange.phase.failures] == [0, 1, 0, 0, 0]
    list(exchange.send_and_receive(_instructions(list(_PARTITIONS), server_round=5)))
    assert [failure.intended for failure in exchange.phase.failures] == [0, 0, 0, 0, 0]


def test_nobody_answers_for_another() -> None:
    def answer(message: Message) -> Message:
        reply = _trained(message)
        if _PARTITIONS[message.metadata.dst_node_id] == 3:
            reply.metadata.__dict__["_src_node_id"] = 17
        return reply

    _, phase = _train(answer)
    [failure] = phase.failures
    assert failure == Failure(3, "the answer came from another node than the one asked")
    assert sorted(phase.metrics) == [0, 1, 2, 4]


def test_a_second_answer_is_nobodys() -> None:
    answered: list[int] = []

    def answer(message: Message) -> Message:
        node = message.metadata.dst_node_id
        answered.append(node)
        again = answered.count(node) > 1
        return Message(_content(-1.0 if again else node), reply_to=message)

    replies, phase = _train(answer, arrival=[1, 1, 0, 2, 3, 4])
    assert len(answered) == 6
    told = [from_record(reply.content["arrays"])["w"][0] for reply in replies]
    assert told == list(_PARTITIONS)
    assert not phase.failures


def test_the_ledger_is_not_filled_by_who_sends_what_is_not_declared() -> None:
    names = [f"{number:03d}" + "x" * 1000 for number in range(100)]

    def answer(message: Message) -> Message:
        content = RecordDict({name: to_record({"w": np.ones(3)}) for name in names})
        return Message(content, reply_to=message)

    _, phase = _train(answer)
    up = [entry for entry in phase.entries if entry.direction == "up" and entry.client == 0]
    assert len(up) < 30
    assert max(len(entry.record) for entry in up) <= 500
    assert sum(entry.bytes for entry in up) == 100 * _npy_bytes(np.ones(3))


def test_standardisation_goes_with_every_message_and_is_counted() -> None:
    moments = {"mean": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)}
    seen: list[list[str]] = []

    def answer(message: Message) -> Message:
        seen.append(list(message.content))
        return _trained(message)

    _, phase = _train(answer, standardisation=to_record(moments))
    assert seen == [["arrays", "config", "standardisation"]] * 5
    down = [e.bytes for e in phase.entries if e.record == "standardisation"]
    assert down == [_npy_bytes(*moments.values())] * 5


def test_only_those_addressed_are_waited_for() -> None:
    exchange, grid = _exchange(_trained)
    replies = list(exchange.send_and_receive(_instructions([3, 17])))
    assert _sent_to(grid, replies) == exchange.phase.clients == [1, 3]
    assert list(exchange.send_and_receive([])) == []
    assert exchange.phase.clients == []


def test_what_would_pass_the_ledger_by_is_refused() -> None:
    exchange, _ = _exchange(_trained)
    with pytest.raises(NotImplementedError, match="send_and_receive"):
        exchange.push_messages([])
    with pytest.raises(NotImplementedError, match="send_and_receive"):
        exchange.pull_messages([])


def test_replies_are_read_lazily_so_that_a_round_need_not_fit_in_memory() -> None:
    exchange, grid = _exchange(_trained)
    replies = exchange.send_and_receive(_instructions(list(_PARTITIONS)))
    assert isinstance(replies, Iterator)
    assert grid.asked == 0
    next(replies)
    assert grid.asked == 1
