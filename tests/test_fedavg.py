"""FedAvg: clients against torch.optim.SGD, the server against Flower and exact arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import count
from typing import Any, cast

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import nn

from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity, number
from fedtl.federation import phases
from fedtl.federation.exchange import Exchange
from fedtl.records import from_record, to_record
from fedtl.transfer.client_block import ClientBlock, batch_width, minibatches
from fedtl.transfer.heads import Tensors, build_head, one_thread
from strategies.base import Arrays, Received, Reply
from strategies.fedavg import FedAvg

FEATURES, CLASSES, HIDDEN = 7, 3, 5


def _strategy(**settings: Any) -> FedAvg:
    config = RunConfig(**{"learning_rate": 0.1, "batch_size": 16, **settings})
    head = build_head(
        config.head, features=FEATURES, classes=CLASSES, hidden_units=HIDDEN, cosine_scale=8.0
    )
    return FedAvg(config, head)


def _block(sizes: Sequence[int], dtype: torch.dtype = torch.float32, seed: int = 0) -> ClientBlock:
    draws = np.random.default_rng(seed)
    total = sum(sizes)
    return ClientBlock(
        features=torch.from_numpy(draws.standard_normal((total, FEATURES))).to(dtype),
        labels=torch.from_numpy(draws.integers(CLASSES, size=total)),
        rows=np.split(draws.permutation(total), np.cumsum(sizes)[:-1]),
        partition_ids=range(len(sizes)),
        classes=CLASSES,
        mean=torch.zeros(1, FEATURES, dtype=dtype),
        scale=torch.ones(1, FEATURES, dtype=dtype),
    )


def _start(strategy: FedAvg, clients: int, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return one random head, sent to all."""
    draws = np.random.default_rng(9)
    return {
        name: torch.from_numpy(draws.standard_normal(shape)).to(dtype).expand(clients, *shape)
        for name, shape in strategy.head.shapes.items()
    }


class _MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.output = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.output(self.hidden(x).relu())
        return out


_MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(FEATURES, CLASSES),
    "mlp": _MLP,
}


def _torch_sgd(
    config: RunConfig, start: Tensors, lone: ClientBlock, rounds: Iterable[int]
) -> tuple[dict[str, torch.Tensor], float]:
    """Return what torch's SGD makes of one client's minibatches, and the last round's mean loss."""
    module = _MODULES[config.head]().double()
    module.load_state_dict({name: value[0].double() for name, value in start.items()})
    width = batch_width(int(lone.sizes[0]), config.batch_size)
    for server_round in rounds:
        optimiser = torch.optim.SGD(
            module.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        losses: list[float] = []
        for epoch in range(config.local_epochs):
            for batch in minibatches(
                lone, width, seed=config.seed, server_round=server_round, epoch=epoch
            ):
                real = batch.weight[0] > 0
                each = nn.functional.cross_entropy(
                    module(batch.x[0][real].double()), batch.y[0][real], reduction="none"
                )
                losses += each.tolist()
                optimiser.zero_grad()
                each.mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return module.state_dict(), float(np.mean(losses))


# --- the client half ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.01)])
@pytest.mark.parametrize(
    ("examples", "tolerance"),
    # A batch's weights, float32, are exact where its size is a power of two: 16 + 16 + 4, 8, 1.
    [(36, 1e-12), (8, 1e-12), (1, 1e-12), (45, 1e-6), (5, 1e-6)],
)
def test_a_client_takes_the_steps_of_torch_sgd(
    kind: str, momentum: float, weight_decay: float, examples: int, tolerance: float
) -> None:
    strategy = _strategy(
        head=kind, momentum=momentum, weight_decay=weight_decay, local_epochs=3, seed=4
    )
    block, start = _block([examples], torch.float64), _start(strategy, 1, torch.float64)
    (trained,) = strategy.client_train(block, Received(start), 2)
    expected, loss = _torch_sgd(strategy.config, start, block, [2])
    assert trained.loss == pytest.approx(loss, rel=tolerance)
    assert trained.arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            trained.arrays[name], value.numpy(), rtol=tolerance, atol=tolerance
        )


def test_clients_of_unlike_sizes_each_take_their_own_steps() -> None:
    strategy = _strategy(local_epochs=2, momentum=0.5)
    block = _block([3, 70, 16, 33, 1], torch.float64)
    start = _start(strategy, 5, torch.float64)
    for client, trained in enumerate(strategy.client_train(block, Received(start), 1)):
        lone = block.select(np.array([client]))
        expected, loss = _torch_sgd(strategy.config, start, lone, [1])
        assert trained.loss == pytest.approx(loss, rel=1e-6)
        for name, value in expected.items():
            np.testing.assert_allclose(trained.arrays[name], value.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "mlp", "cosine"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_client_gets_the_same_bits_in_any_block(kind: str, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 100), min_size=1, max_size=70))
    batch_size = data.draw(st.sampled_from([1, 5, 16, 32]))
    chosen = data.draw(st.lists(st.sampled_from(range(len(sizes))), min_size=1, unique=True))
    strategy = _strategy(head=kind, batch_size=batch_size, local_epochs=2)
    block = _block(sizes)
    with one_thread(), torch.inference_mode():
        together = strategy.client_train(block, Received(_start(strategy, len(sizes))), 1)
        part = block.select(np.array(chosen))
        apart = strategy.client_train(part, Received(_start(strategy, len(chosen))), 1)
    for client, trained in zip(chosen, apart, strict=True):
        assert trained.loss == together[client].loss
        for name, value in trained.arrays.items():
            assert value.tobytes() == together[client].arrays[name].tobytes()


def test_the_head_that_was_sent_is_left_as_it_was() -> None:
    strategy = _strategy()
    start = _start(strategy, 2)
    before = {name: value.clone() for name, value in start.items()}
    strategy.client_train(_block([20, 20]), Received(start), 1)
    assert all(torch.equal(start[name], before[name]) for name in before)


def test_a_client_sends_the_head_and_nothing_else() -> None:
    strategy = _strategy(head="mlp")
    for trained in strategy.client_train(_block([9, 30]), Received(_start(strategy, 2)), 1):
        shapes = {name: value.shape for name, value in trained.arrays.items()}
        assert shapes == dict(strategy.uplink)
        assert {value.dtype for value in trained.arrays.values()} == {np.dtype(np.float32)}


def test_a_client_alone_trains_as_long_on_its_own_standardised_data() -> None:
    strategy = _strategy(rounds=3, local_epochs=2, head_init="zero")
    block = _block([40, 12])
    for client, alone in enumerate(strategy.train_alone(block)):
        lone = block.select(np.array([client]))
        x = lone.features[torch.from_numpy(lone.rows[0])].double().numpy()
        scaler = StandardScaler().fit(x)
        np.testing.assert_allclose(alone.standardisation.mean, scaler.mean_, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(alone.standardisation.scale, 1 / scaler.scale_, rtol=1e-5)
        start = {name: torch.zeros(1, *shape) for name, shape in strategy.head.shapes.items()}
        standardised = lone.standardised([alone.standardisation])
        expected, _ = _torch_sgd(strategy.config, start, standardised, [1, 2, 3])
        for name, value in expected.items():
            np.testing.assert_allclose(alone.arrays[name], value.numpy(), rtol=1e-4, atol=1e-5)


# --- the server half ------------------------------------------------------------------------------


def _replies(clients: int, seed: int = 0) -> list[Reply]:
    draws = np.random.default_rng(seed)
    return [
        Reply(
            int(draws.integers(1, 5_000)),
            {
                "weight": draws.standard_normal((CLASSES, FEATURES)).astype(np.float32),
                "bias": draws.standard_normal(CLASSES).astype(np.float32),
            },
        )
        for _ in range(clients)
    ]


@pytest.mark.parametrize("clients", [1, 2, 7, 50])
def test_the_average_is_the_exact_one_rounded_once(clients: int) -> None:
    replies = _replies(clients)
    average = _strategy().aggregate(1, {}, replies)
    assert average is not None
    total = sum(reply.examples for reply in replies)
    for name, value in average.items():
        assert value.dtype == np.float32
        for place in np.ndindex(value.shape):
            exact = sum(Fraction(float(r.arrays[name][place])) * r.examples for r in replies)
            assert value[place] == np.float32(float(exact / total))


@pytest.mark.parametrize("clients", [1, 2, 7, 50])
def test_the_average_is_flowers(clients: int) -> None:
    replies = _replies(clients)
    records = [
        RecordDict(
            {
                "arrays": to_record(reply.arrays),
                "metrics": MetricRecord({"num-examples": reply.examples}),
            }
        )
        for reply in replies
    ]
    flowers = from_record(aggregate_arrayrecords(records, "num-examples"))
    average = _strategy().aggregate(1, {}, replies)
    assert average is not None
    assert average.keys() == flowers.keys()
    for name, value in flowers.items():
        np.testing.assert_allclose(average[name], value, rtol=0, atol=1e-6)


def test_one_client_with_all_the_data_is_followed_to_the_bit() -> None:
    strategy = _strategy()
    (trained,) = strategy.client_train(_block([77]), Received(_start(strategy, 1)), 1)
    average = strategy.aggregate(1, {}, [Reply(77, trained.arrays)])
    assert average is not None
    for name, value in trained.arrays.items():
        assert average[name].tobytes() == value.tobytes()


def test_no_replies_give_no_head() -> None:
    assert _strategy().aggregate(1, {}, []) is None
    assert _strategy().aggregate_train(1, []) == (None, None)
    assert _strategy().aggregate_evaluate(1, []) is None


# --- Flower's interface ---------------------------------------------------------------------------


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
    for message in _train_messages(_strategy(), 3, server_round=5):
        assert message.metadata.message_type == "train"
        assert message.content.config_records["config"] == ConfigRecord({"a": 1, "server-round": 5})
        assert set(message.content.array_records["arrays"]) == {"weight", "bias"}


def test_closing_evaluation_asks_every_client() -> None:
    assume_server_identity()
    grid = cast(Grid, _Nodes(4))
    messages = list(
        _strategy(fraction=0.25).configure_evaluate(9, ArrayRecord(), ConfigRecord(), grid)
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
    sample = _sampled(_strategy(fraction=fraction), clients)
    assert len(sample) == size == len(set(sample))
    assert set(sample) <= set(range(clients))
    assert sample == sorted(sample)


def test_a_sample_belongs_to_seed_and_round() -> None:
    strategy = _strategy(fraction=0.3)
    samples = [tuple(_sampled(strategy, 20, server_round)) for server_round in range(1, 9)]
    assert samples == [tuple(_sampled(strategy, 20, round_)) for round_ in range(1, 9)]
    assert len(set(samples)) == 8
    assert tuple(_sampled(_strategy(fraction=0.3, seed=1), 20)) != samples[0]


def test_every_client_is_sampled_alike() -> None:
    strategy = _strategy(fraction=0.2)
    times = np.bincount(
        [client for round_ in range(1, 501) for client in _sampled(strategy, 10, round_)],
        minlength=10,
    )
    # 100 expected of each, standard deviation 9: five of them either way.
    assert times.sum() == 1_000
    assert times.min() > 55
    assert times.max() < 145


def test_aggregation_reads_messages_and_passes_over_failures() -> None:
    strategy, replies = _strategy(), _replies(3)
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
    strategy = _strategy()
    answers = [_failure(message) for message in _train_messages(strategy, 3)]
    assert strategy.aggregate_train(1, answers) == (None, None)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_replies_arrive_changes_nothing(shuffler: random.Random) -> None:
    strategy, clients = _strategy(), 9
    makers = [_answer(reply, float(client)) for client, reply in enumerate(_replies(clients))]
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
    strategy = _strategy()
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
