"""One client may send anything: it is left out by name, and the others' run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Error, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from lying_clients import CLIENTS, LIAR, Said, federated_with, fields_of, with_field
from named_classes import BACKBONE

import strategies
from fedtl.config import RunConfig
from fedtl.federation.evaluation import ClientEvaluation, RoundScore
from fedtl.federation.outcome import Outcome
from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.messages.reply_checks import ReplyChecks
from fedtl.privacy.egress import EgressError, release
from fedtl.records import from_array, metric_record, to_array
from fedtl.transfer.heads import head_of

ALL = sorted(strategies.available())
_SCALES = (3e38, 1e12, -1e6, np.nan, np.inf)
_NUMBERS = (1, -1, 2**53, 10**18, 1e300, float("nan"), float("inf"), True, [1, 2], [], "5", None)
# What a client alone can know, if it is a number of the right kind: no head is made of it.
_ITS_OWN = ("loss", "accuracy", "local-only-method", "predicted", "losses", "gaps", "correct")
_ITS_OWN += ("bins", "probabilities", "classes-left-out")
# Sums that no form tells from those of huge features: clients are asked again without such a one.
_PROPORTION = (
    (phases.MOMENTS, "squares"),
    (phases.TRAIN, "class-sums"),
    (phases.TRAIN, "class-means"),
)


def _config(strategy: str, **changes: Any) -> RunConfig:
    head = {"head": "mlp", "hidden_units": 4} if strategy == "fedper" else {}
    plain = {"rounds": 2, "batch_size": 4, "backbone": BACKBONE}
    return RunConfig(strategy=strategy, **(plain | head | changes))


@cache
def _honest(strategy: str) -> tuple[Outcome, Said]:
    """Return an honest run, and what the liar was asked and says in it, by kind of message."""
    said: Said = {}
    outcome, _ = federated_with(None, _config(strategy), said)
    assert not outcome.failures
    return outcome, said


@cache
def _without(strategy: str, kind: str) -> Outcome:
    """Return the run in which the liar does not answer messages of a kind."""

    def silent(asked: str, content: RecordDict) -> RecordDict | Error:
        return Error(1, "gone") if asked == kind else content

    return federated_with(silent, _config(strategy))[0]


def _lies(content: RecordDict) -> Iterator[tuple[str, str, Any]]:
    """Yield record, field and a lie in its place, for every field of a reply."""
    for record, key in fields_of(content):
        value: Any = content[record][key]
        if isinstance(content[record], ArrayRecord):
            honest = from_array(value)
            with np.errstate(over="ignore"):
                yield from (
                    (record, key, to_array(np.full_like(honest, scale))) for scale in _SCALES
                )
            yield record, key, to_array(honest.astype(np.float16))
            yield record, key, to_array(np.zeros((3, 1), honest.dtype))
        elif isinstance(value, list):
            yield from (
                (record, key, lie)
                for lie in (value + value[:1], [10**18] * len(value), [-7] * len(value), 7, "7")
            )
        else:
            yield from ((record, key, lie) for lie in (*_NUMBERS, "x" * 10**5))


@pytest.mark.parametrize("strategy", ALL)
def test_no_lie_passes_the_door_but_about_what_only_the_client_can_know(strategy: str) -> None:
    _, said = _honest(strategy)
    config = _config(strategy, clients=CLIENTS).settled()
    identity = said[phases.HANDSHAKE][1]["identity"]
    width, names = int(identity["feature-size"]), identity["classes"]
    classes = len(names)
    built = strategies.build(config, head_of(config, features=width, classes=classes))
    declared = phases.declarations(built, width, classes)
    card = SiteCard.read(metric_record(said[phases.HANDSHAKE][1], "census"), classes)
    checks = ReplyChecks(built, {LIAR: card})
    for kind, (instruction, honest) in said.items():

        def look(content: RecordDict, kind: str = kind, asked: RecordDict = instruction) -> None:
            release(content, declared[kind])
            checks.check(kind, LIAR, content, asked)

        look(honest)
        if kind == phases.HANDSHAKE:
            continue  # test_handshake.py has the lies
        for record, key, lie in _lies(honest):
            content = with_field(honest, record, key, lie)
            try:
                look(content)
            except EgressError as refused:
                assert len(str(refused)) < 1500 and str(refused).isprintable()
                continue
            except ValueError:
                continue  # bytes that are no array
            if (kind, key) in _PROPORTION:
                continue
            assert key.endswith(_ITS_OWN), f"{kind}: {key} = {str(lie)[:60]} was believed"
            metrics = metric_record(content, "metrics")
            if kind == phases.EVALUATE:
                ClientEvaluation.read(metrics, classes)
            elif kind == phases.TRAIN:
                RoundScore.read(metrics)


@pytest.mark.parametrize("strategy", ALL)
def test_a_lie_costs_the_liar_its_own_contribution_and_nobody_anything_else(strategy: str) -> None:
    everyone, said = _honest(strategy)
    rng = np.random.default_rng(ALL.index(strategy))
    for kind in rng.permutation(sorted(said))[:2]:
        honest = said[kind][1]
        lies = [lie for lie in _lies(honest) if not lie[1].endswith(_ITS_OWN)]
        record, key, value = lies[rng.integers(len(lies))]

        def lie(asked: str, content: RecordDict) -> RecordDict:
            return with_field(content, record, key, value) if asked == kind else content  # noqa: B023

        outcome, notes = federated_with(lie, _config(strategy))
        assert {client for _, client, _ in outcome.failures} == {LIAR}, (kind, key, value)
        warned = any(f", client {LIAR}: " in text for text in notes.warnings)
        assert warned or LIAR in {client for _, client, _ in notes.faults}
        # The head is finished before it is evaluated.
        expected = everyone if kind == phases.EVALUATE else _without(strategy, kind)
        for name, array in outcome.arrays.items():
            np.testing.assert_array_equal(array, expected.arrays[name])
        scored = set(range(CLIENTS))
        if kind in (phases.HANDSHAKE, phases.EVALUATE):
            scored -= {LIAR}
        assert outcome.federated.keys() == outcome.local_only.keys() == scored


_ANYTHING = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.none(),
    st.lists(st.integers(-(2**60), 2**60), max_size=12),
    st.lists(st.floats(), max_size=12),
)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_no_value_of_any_field_ends_a_run_or_moves_its_head_too_far(data: st.DataObject) -> None:
    strategy = data.draw(st.sampled_from(["fedavg", "fednova", "fed3r", "fedpft"]))
    honest, said = _honest(strategy)
    kind = data.draw(st.sampled_from(sorted(said)))
    record, key = data.draw(st.sampled_from(fields_of(said[kind][1])))
    if isinstance(said[kind][1][record], ArrayRecord):
        shape = from_array(said[kind][1][record][key]).shape
        dtype = data.draw(st.sampled_from([np.float32, np.float64]))
        width = 32 if dtype is np.float32 else 64
        flat = data.draw(st.lists(st.floats(width=width), min_size=1, max_size=20))
        value: Any = to_array(np.resize(np.array(flat, dtype), shape))
    else:
        value = data.draw(_ANYTHING)

    def lie(asked: str, content: RecordDict) -> RecordDict:
        return with_field(content, record, key, value) if asked == kind else content

    config = _config(strategy)
    outcome, _ = federated_with(lie, config)
    # Of two that claim one partition none can be told to be right.
    claimed = {value} if key == "partition-id" and isinstance(value, int) else set()
    assert outcome.federated.keys() >= set(range(CLIENTS)) - {LIAR} - claimed
    assert all(np.isfinite(array).all() for array in outcome.arrays.values())
    if strategy == "fedavg" and not claimed:
        # The liar holds 7 of 54 examples, and the head of ones has norm √18.
        reach = 7 / 54 * config.reply_limit * np.sqrt(18) * (1 + config.reply_limit)
        moved = sum(
            np.square(outcome.arrays[name] - array).sum() for name, array in honest.arrays.items()
        )
        assert np.sqrt(moved) <= reach
