"""What a strategy tells Flower: who is asked, what replies are read, and in which order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import cast

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from hypothesis import given, settings
from hypothesis import strategies as st
from random_replies import CLASSES, FEATURES, fedavg, random_replies

from fedtl.engine.flower_internals import assume_server_identity, number
from fedtl.federation.exchange import Exchange
from fedtl.messages import phases
from fedtl.records import from_record, to_record
from strategies.base import Arrays, Reply
from strategies.fedavg import FedAvg


class _Nodes:
    """As much of a grid as sampling needs."""

    def __init__(self, clients: int) -> None:
        self._nodes = [100 + client for client in range(clients)]

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)


class _Courier(_Nodes):
    """A grid whose clients answer with prepared replies, in any order."""

    def __init__(self, answers: Sequence[Callable[[Message], Message]], order: Sequence[int]):
        super().__init__(len(answers))
        self._answers, self._order = answers, order

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        sent = list(messages)
        number(sent, count(1))
        answers = [self._answers[m.metadata.dst_node_id - 100](m) for m in sent]
        return [answers[place] for place in self._order]


def _train_messages(
    strategy: FedAvg, clients: int, server_round: int = 1, grid: object | None = None
) -> list[Message]:
    assume_server_identity()
    head: Arrays = {name: np.zeros(shape) for name, shape in strategy.head.shapes.items()}
    nodes = cast(Grid, grid or _Nodes(clients))
    return list(
        strategy.configure_train(server_round, to_record(head), ConfigRecord({"a": 1}), nodes)
    )


def _sampled(strategy: FedAvg, clients: int, server_round: int = 1) -> list[int]:
    messages = _train_messages(strategy, clients, server_round)
    return [message.metadata.dst_node_id - 100 for message in messages]


def _answer(reply: Reply, loss: float) -> Callable[[Message], Message]:
    score = {"held-out": 1, "loss": 1.0, "accuracy": 0.5}
    metrics = MetricRecord({"num-examples": reply.examples, "train-loss": loss, **score})
    content = RecordDict({"arrays": to_record(reply.arrays), "metrics": metrics})
    return lambda message: Message(content, reply_to=message)


def _failure(message: Message) -> Message:
    return Message(Error(2, "boom"), reply_to=message)


def test_messages_carry_the_head_and_the_round() -> None:
    for message in _train_messages(fedavg(), 3, server_round=5):
        assert message.metadata.message_type == "train"
        assert message.content.config_records["config"] == ConfigRecord({"a": 1, "server-round": 5})
        assert set(message.content.array_records["arrays"]) == {"weight", "bias"}


def test_closing_evaluation_asks_every_client() -> None:
    assume_server_identity()
    grid = cast(Grid, _Nodes(4))
    messages = list(
        fedavg(fraction=0.25).configure_evaluate(9, ArrayRecord(), ConfigRecord(), grid)
    )
    assert [message.metadata.dst_node_id for message in messages] == [100, 101, 102, 103]
    assert {message.metadata.message_type for message in messages} == {"evaluate"}


@pytest.mark.parametrize(
    ("fraction", "clients", "size"),
    [(1.0, 7, 7), (0.3, 20, 6), (0.5, 7, 4), (0.01, 5, 1), (0.99, 3, 3), (0.1, 1_000, 100)],
)
def test_a_sample_has_the_asked_fraction_and_is_never_empty(
    fraction: float, clients: int, size: int
) -> None:
    sample = _sampled(fedavg(fraction=fraction), clients)
    assert len(sample) == size == len(set(sample))
    assert set(sample) <= set(range(clients))
    assert sample == sorted(sample)


def test_a_sample_belongs_to_seed_and_round() -> None:
    strategy = fedavg(fraction=0.3)
    samples = [tuple(_sampled(strategy, 20, server_round)) for server_round in range(1, 9)]
    assert samples == [tuple(_sampled(strategy, 20, round_)) for round_ in range(1, 9)]
    assert len(set(samples)) == 8
    assert tuple(_sampled(fedavg(fraction=0.3, seed=1), 20)) != samples[0]


def test_every_client_is_sampled_alike() -> None:
    strategy = fedavg(fraction=0.2)
    times = np.bincount(
        [client for round_ in range(1, 501) for client in _sampled(strategy, 10, round_)],
        minlength=10,
    )
    # 100 expected of each, standard deviation 9: five of them either way.
    assert times.sum() == 1_000
    assert times.min() > 55
    assert times.max() < 145


def test_aggregation_reads_messages_and_passes_over_failures() -> None:
    strategy, replies = fedavg(), random_replies(3)
    instructions = _train_messages(strategy, 4)
    makers = [
        _answer(replies[0], 1.0),
        _failure,
        _answer(replies[1], 2.0),
        _answer(replies[2], 4.0),
    ]
    answers = [make(message) for make, message in zip(makers, instructions, strict=True)]
    record, metrics = strategy.aggregate_train(1, answers)
    expected = strategy.aggregate(1, {}, replies)
    assert record is not None
    assert metrics is not None
    assert expected is not None
    for name, value in from_record(record).items():
        assert value.tobytes() == expected[name].tobytes()
    examples = [reply.examples for reply in replies]
    assert metrics["num-examples"] == sum(examples)
    assert metrics["train-loss"] == pytest.approx(np.average([1.0, 2.0, 4.0], weights=examples))


def test_a_round_in_which_everyone_fails_gives_no_head() -> None:
    strategy = fedavg()
    answers = [_failure(message) for message in _train_messages(strategy, 3)]
    assert strategy.aggregate_train(1, answers) == (None, None)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_replies_arrive_changes_nothing(shuffler: random.Random) -> None:
    strategy, clients = fedavg(), 9
    makers = [_answer(reply, float(client)) for client, reply in enumerate(random_replies(clients))]
    makers[4] = _failure
    # Sites register in any order too: node 100 + client is not partition client.
    partitions = dict(zip(range(100, 100 + clients), [5, 3, 8, 0, 1, 7, 2, 6, 4], strict=True))
    declared = phases.declarations(strategy, FEATURES, CLASSES)
    heads = set()
    for order in (list(range(clients)), shuffler.sample(range(clients), clients)):
        grid = Exchange(cast(Grid, _Courier(makers, order)), partitions, declared)
        messages = _train_messages(strategy, clients, grid=grid)
        record, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
        assert record is not None
        assert metrics is not None
        arrays = {name: value.tobytes() for name, value in from_record(record).items()}
        heads.add((arrays["weight"], arrays["bias"], metrics["train-loss"]))
    assert len(heads) == 1


def test_evaluation_weighs_by_examples_and_skips_clients_without_any() -> None:
    strategy = fedavg()
    scores = [(30, 1.0, 0.5), (0, float("nan"), float("nan")), (10, 2.0, 1.0)]
    answers = [
        Message(
            RecordDict(
                {"metrics": MetricRecord({"num-examples": n, "loss": loss, "accuracy": accuracy})}
            ),
            reply_to=message,
        )
        for message, (n, loss, accuracy) in zip(_train_messages(strategy, 3), scores, strict=True)
    ]
    metrics = strategy.aggregate_evaluate(1, [*answers, _failure(_train_messages(strategy, 1)[0])])
    assert metrics is not None
    assert dict(metrics) == pytest.approx(
        {"num-examples": 40, "loss": (30 * 1.0 + 10 * 2.0) / 40, "accuracy": 25 / 40}
    )
