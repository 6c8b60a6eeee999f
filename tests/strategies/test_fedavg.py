"""FedAvg: clients against torch.optim.SGD, the server against Flower and exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from flwr.app import MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given, settings
from hypothesis import strategies as st
from random_replies import CLASSES, FEATURES, HIDDEN, fedavg, random_replies
from sklearn.preprocessing import StandardScaler
from torch import nn

from fedtl.config import RunConfig
from fedtl.records import from_record, to_record
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors, one_thread
from fedtl.transfer.minibatches import batch_width, minibatches
from strategies.base import Received, Reply
from strategies.fedavg import FedAvg


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
    strategy = fedavg(
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
    strategy = fedavg(local_epochs=2, momentum=0.5)
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
    strategy = fedavg(head=kind, batch_size=batch_size, local_epochs=2)
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
    strategy = fedavg()
    start = _start(strategy, 2)
    before = {name: value.clone() for name, value in start.items()}
    strategy.client_train(_block([20, 20]), Received(start), 1)
    assert all(torch.equal(start[name], before[name]) for name in before)


def test_a_client_sends_the_head_and_nothing_else() -> None:
    strategy = fedavg(head="mlp")
    for trained in strategy.client_train(_block([9, 30]), Received(_start(strategy, 2)), 1):
        shapes = {name: value.shape for name, value in trained.arrays.items()}
        assert shapes == dict(strategy.uplink)
        assert {value.dtype for value in trained.arrays.values()} == {np.dtype(np.float32)}


def test_a_client_alone_trains_as_long_on_its_own_standardised_data() -> None:
    strategy = fedavg(rounds=3, local_epochs=2, head_init="zero")
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


@pytest.mark.parametrize("clients", [1, 2, 7, 50])
def test_the_average_is_the_exact_one_rounded_once(clients: int) -> None:
    replies = random_replies(clients)
    average = fedavg().aggregate(1, {}, replies)
    assert average is not None
    total = sum(reply.examples for reply in replies)
    for name, value in average.items():
        assert value.dtype == np.float32
        for place in np.ndindex(value.shape):
            exact = sum(Fraction(float(r.arrays[name][place])) * r.examples for r in replies)
            assert value[place] == np.float32(float(exact / total))


@pytest.mark.parametrize("clients", [1, 2, 7, 50])
def test_the_average_is_flowers(clients: int) -> None:
    replies = random_replies(clients)
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
    average = fedavg().aggregate(1, {}, replies)
    assert average is not None
    assert average.keys() == flowers.keys()
    for name, value in flowers.items():
        np.testing.assert_allclose(average[name], value, rtol=0, atol=1e-6)


def test_one_client_with_all_the_data_is_followed_to_the_bit() -> None:
    strategy = fedavg()
    (trained,) = strategy.client_train(_block([77]), Received(_start(strategy, 1)), 1)
    average = strategy.aggregate(1, {}, [Reply(77, trained.arrays)])
    assert average is not None
    for name, value in trained.arrays.items():
        assert average[name].tobytes() == value.tobytes()


def test_no_replies_give_no_head() -> None:
    assert fedavg().aggregate(1, {}, []) is None
    assert fedavg().aggregate_train(1, []) == (None, None)
    assert fedavg().aggregate_evaluate(1, []) is None
