"""Fed3R against the ridge head of the pooled data, by numpy and by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from small_federation import block_of

from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.errors import ImpossibleTotalError, UsageError
from fedtl.records import from_record, to_record
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import CosineHead, Head, LinearHead, MLPHead
from strategies.base import Arrays, Received, Reply
from strategies.fed3r import Fed3R

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Problem:
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int
    penalty: float
    parts: Sequence[NDArray[np.int64]]

    @property
    def strategy(self) -> Fed3R:
        config = RunConfig(strategy="fed3r", ridge_penalty=self.penalty)
        return Fed3R(config, LinearHead(self.x.shape[1], self.classes))

    @property
    def block(self) -> ClientBlock:
        return block_of(self.x, self.y, self.parts, self.classes)

    def replies(self) -> list[Reply]:
        trained = self.strategy.client_train(self.block, Received({}), 1)
        return [
            Reply(len(rows), client.arrays)
            for rows, client in zip(self.parts, trained, strict=True)
        ]

    def solved(self) -> Arrays:
        head = self.strategy.aggregate(1, {}, self.replies())
        assert head is not None
        return head


def _features(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return features of unlike means and scales, every fourth constant."""
    draws = np.random.default_rng(seed)
    scale = 10.0 ** draws.uniform(-2, 2, width)
    x = draws.standard_normal((rows, width)) * scale + scale * draws.uniform(-5, 5, width)
    x[:, 3::4] = draws.choice([0.0, 0.1, -300.7])
    return x.astype(np.float32)


def _pooled(problem: _Problem) -> tuple[Floats, Floats]:
    """Return weight and bias of the ridge head of all data, straight from the definition."""
    x, y = problem.x.astype(np.float64), np.eye(problem.classes)[problem.y]
    varies = np.ptp(x, axis=0) > 0
    deviation = np.where(varies, x.std(0), 1.0)
    z = (x - x.mean(0)) / deviation
    system = z.T @ z + problem.penalty * max(1, varies.sum()) * np.eye(x.shape[1])
    weight = np.linalg.solve(system, z.T @ (y - y.mean(0))) / deviation[:, None]
    return weight.T, y.mean(0) - x.mean(0) @ weight


def _assert_close(actual: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
    assert actual.shape == expected.shape
    distance = np.linalg.norm(actual - expected)
    assert distance <= 1e-8 * np.linalg.norm(expected) + 1e-14


@st.composite
def _problems(draw: st.DrawFn) -> _Problem:
    rows, width = draw(st.integers(2, 60)), draw(st.integers(1, 12))
    classes, seed = draw(st.integers(2, 5)), draw(st.integers(0, 2**32 - 1))
    draws = np.random.default_rng(seed)
    y = draws.integers(classes, size=rows)
    one_class_each = draw(st.booleans())
    owner = y if one_class_each else draws.integers(draw(st.integers(1, 8)), size=rows)
    order = draw(st.permutations(np.unique(owner).tolist()))
    return _Problem(
        x=_features(rows, width, seed),
        y=y,
        classes=classes,
        penalty=draw(st.sampled_from([1e-3, 0.1, 1.0, 30.0])),
        parts=[np.flatnonzero(owner == client) for client in order],
    )


def _problem(rows: int = 40, width: int = 6, classes: int = 3, clients: int = 4) -> _Problem:
    draws = np.random.default_rng(1)
    return _Problem(
        x=_features(rows, width, 1),
        y=draws.integers(classes, size=rows),
        classes=classes,
        penalty=0.1,
        parts=np.array_split(draws.permutation(rows), clients),
    )


@settings(deadline=None, max_examples=60)
@given(_problems())
def test_any_partition_gives_the_ridge_head_of_the_pooled_data(problem: _Problem) -> None:
    head, (weight, bias) = problem.solved(), _pooled(problem)
    _assert_close(head["weight"], weight)
    _assert_close(head["bias"], bias)


@settings(deadline=None, max_examples=40)
@given(_problems())
def test_any_partition_gives_the_head_of_scikit_learn(problem: _Problem) -> None:
    x, head = problem.x.astype(np.float64), problem.solved()
    scaler = StandardScaler().fit(x)
    ridge = Ridge(alpha=problem.penalty * max(1, (np.ptp(x, axis=0) > 0).sum()), solver="cholesky")
    ridge.fit(scaler.transform(x), np.eye(problem.classes)[problem.y])
    weight = ridge.coef_ / scaler.scale_
    _assert_close(head["weight"], weight)
    _assert_close(head["bias"], ridge.intercept_ - weight @ scaler.mean_)


def test_a_wide_shift_of_the_features_costs_no_accuracy() -> None:
    problem = _problem()
    shifted = _Problem(
        problem.x + np.float32(1000) * problem.x.std(0),
        problem.y,
        problem.classes,
        problem.penalty,
        problem.parts,
    )
    _assert_close(shifted.solved()["weight"], _pooled(shifted)[0])


def test_many_examples_are_summed_in_chunks() -> None:
    problem = _problem(rows=5_000, clients=2)
    _assert_close(problem.solved()["weight"], _pooled(problem)[0])


def test_a_class_that_only_one_client_has_is_learnt() -> None:
    x = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    y = np.repeat(np.arange(3), 10)
    problem = _Problem(x, y, 3, 0.1, np.array_split(np.arange(30), 3))
    head = problem.solved()
    np.testing.assert_array_equal((x @ head["weight"].T + head["bias"]).argmax(1), y)


def test_a_class_that_nobody_has_is_never_predicted() -> None:
    problem = _problem()
    wider = _Problem(problem.x, problem.y, problem.classes + 1, 0.1, problem.parts)
    head = wider.solved()
    np.testing.assert_array_equal(head["weight"][-1], 0)
    assert head["bias"][-1] == 0


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 12_345.678])
def test_constant_features_count_for_nothing(value: float) -> None:
    problem = _problem()
    problem.x[:, 2] = value
    head = problem.solved()
    assert np.isfinite(head["weight"]).all()
    assert np.isfinite(head["bias"]).all()
    np.testing.assert_array_equal(head["weight"][:, 2], 0)
    without = _Problem(np.delete(problem.x, 2, 1), problem.y, 3, 0.1, problem.parts).solved()
    _assert_close(np.delete(head["weight"], 2, 1), without["weight"])


def test_no_varying_feature_at_all_predicts_the_commonest_class() -> None:
    problem = _Problem(
        np.ones((5, 2), np.float32), np.array([0, 1, 1, 1, 0]), 2, 0.1, [np.arange(5)]
    )
    head = problem.solved()
    np.testing.assert_array_equal(head["weight"], 0)
    np.testing.assert_allclose(head["bias"], [0.4, 0.6])


@pytest.mark.parametrize(("rows", "width"), [(1, 5), (3, 5), (6, 5), (10, 40), (40, 6)])
def test_a_client_alone_gets_the_ridge_head_of_its_own_data(rows: int, width: int) -> None:
    """The dual form is taken up to one row more than features, the primal one above."""
    problem = _problem(rows, width, clients=1)
    (alone,) = problem.strategy.train_alone(problem.block)
    weight, bias = _pooled(problem)
    _assert_close(alone.arrays["weight"], weight)
    _assert_close(alone.arrays["bias"], bias)
    primal = problem.solved()
    _assert_close(alone.arrays["weight"], primal["weight"])
    x = torch.from_numpy(problem.x)
    assert torch.equal(alone.standardisation.apply(x), x)


def test_what_leaves_is_the_upper_triangle_and_the_class_sums() -> None:
    problem = _problem()
    declared = problem.strategy.uplink
    assert dict(declared) == {"gram": (7 * 8 // 2,), "class-sums": (7, 3)}
    for rows, reply in zip(problem.parts, problem.replies(), strict=True):
        z = np.hstack([problem.x[rows].astype(np.float64), np.ones((len(rows), 1))])
        onehot = np.eye(3)[problem.y[rows]]
        assert {name: value.shape for name, value in reply.arrays.items()} == dict(declared)
        assert {value.dtype for value in reply.arrays.values()} == {np.dtype(np.float64)}
        gram = z.T @ z
        np.testing.assert_allclose(
            reply.arrays["gram"], np.concatenate([gram[i, i:] for i in range(7)]), rtol=1e-12
        )
        np.testing.assert_allclose(reply.arrays["class-sums"], z.T @ onehot, rtol=1e-12, atol=1e-10)


def test_a_clients_statistics_do_not_depend_on_its_company() -> None:
    problem = _problem()
    together = problem.replies()
    for place, rows in enumerate(problem.parts):
        lone = _Problem(problem.x, problem.y, problem.classes, problem.penalty, [rows])
        for name, value in lone.replies()[0].arrays.items():
            assert value.tobytes() == together[place].arrays[name].tobytes()


def test_replies_are_left_as_they_came() -> None:
    problem = _problem()
    replies = problem.replies()
    before = [{name: value.copy() for name, value in r.arrays.items()} for r in replies]
    problem.strategy.aggregate(1, {}, replies)
    for reply, arrays in zip(replies, before, strict=True):
        for name, value in arrays.items():
            np.testing.assert_array_equal(reply.arrays[name], value)


def test_no_replies_give_no_head() -> None:
    assert _problem().strategy.aggregate(1, {}, []) is None
    assert _problem().strategy.aggregate_train(1, []) == (None, None)


def test_it_goes_through_flower_messages() -> None:
    assume_server_identity()
    problem = _problem()
    strategy = problem.strategy

    class Nodes:
        def get_node_ids(self) -> list[int]:
            return [11, 12, 13, 14]

    messages = list(strategy.configure_train(1, to_record({}), ConfigRecord(), cast(Grid, Nodes())))
    replies = []
    for message, reply in zip(messages, problem.replies(), strict=True):
        metrics = MetricRecord({"num-examples": reply.examples, "train-loss": float("nan")})
        content = RecordDict({"statistics": to_record(reply.arrays), "metrics": metrics})
        replies.append(Message(content, reply_to=message))
    record, metrics_record = strategy.aggregate_train(1, replies)
    assert record is not None
    assert metrics_record is not None
    assert metrics_record["num-examples"] == 40
    for name, value in from_record(record).items():
        assert value.tobytes() == problem.solved()[name].tobytes()


@pytest.mark.parametrize("head", [MLPHead(4, 2), CosineHead(4, 2)])
def test_a_head_without_a_closed_form_is_refused(head: Head) -> None:
    kind = "mlp" if isinstance(head, MLPHead) else "cosine"
    with pytest.raises(
        UsageError, match=f"head = '{kind}' has no closed form.*use head = 'linear'"
    ):
        Fed3R(RunConfig(strategy="fed3r", head=kind), head)


def test_a_penalty_lost_in_rounding_is_told_in_a_sentence() -> None:
    draws = np.random.default_rng(0)
    x = (draws.standard_normal((20, 50)) + 1000).astype(np.float32)
    problem = _Problem(x, draws.integers(3, size=20), 3, 1e-14, [np.arange(20)])
    with pytest.raises(ImpossibleTotalError, match=r"ridge-penalty = 1e-14 .* a larger penalty"):
        problem.solved()
