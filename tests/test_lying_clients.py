"""One client may send anything: it is left out by name, and the others' run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lying_clients import CLIENTS, LIAR, federated_with, fields_of

import strategies
from fedtl.config import RunConfig
from fedtl.federation import phases
from fedtl.federation.outcome import Outcome
from fedtl.records import from_array, to_array

ALL = sorted(strategies.available())
# Ways to be wrong, for arrays and for numbers.
SCALES = (3e38, 1e12, -1e6, np.nan, np.inf)
NUMBERS: tuple[Any, ...] = (
    -1,
    2**53,
    10**18,
    1e300,
    float("nan"),
    float("inf"),
    0,
    True,
    [1, 2],
    [],
)


def _config(strategy: str, **changes: Any) -> RunConfig:
    more: dict[str, Any] = {"rounds": 2, "batch_size": 4}
    if strategy == "fedper":
        more |= {"head": "mlp", "hidden_units": 4}
    return RunConfig(strategy=strategy, **(more | changes)).settled()


@lru_cache(maxsize=None)
def _honest(strategy: str) -> tuple[Outcome, dict[str, RecordDict]]:
    """Return an honest run, and the liar's honest replies to each kind of message."""
    said: dict[str, RecordDict] = {}

    def listening(kind: str, content: RecordDict) -> RecordDict:
        said[kind] = content
        return content

    outcome, _ = federated_with(listening, _config(strategy))
    assert not outcome.failures
    return outcome, said


@lru_cache(maxsize=None)
def _without(strategy: str, kinds: tuple[str, ...]) -> Outcome:
    """Return the run in which the liar has no part in phases of some kinds."""
    outcome, _ = federated_with(
        lambda kind, content: RecordDict() if kind in kinds else content, _config(strategy)
    )
    return outcome


def _alike(one: Outcome, other: Outcome) -> bool:
    return all(np.array_equal(value, other.arrays[name]) for name, value in one.arrays.items())


def _sound(outcome: Outcome) -> None:
    assert all(np.isfinite(value).all() for value in outcome.arrays.values())
    assert sum(LIAR != client for client in outcome.federated) == CLIENTS - 1


def _lies(content: RecordDict) -> Iterator[tuple[str, str, Any]]:
    """Yield record, field and a value that is a lie in its place."""
    for record, key in fields_of(content):
        value = content[record][key]
        if isinstance(content[record], ArrayRecord):
            honest = from_array(value)
            for scale in SCALES:
                with np.errstate(all="ignore"):
                    yield record, key, to_array(np.full_like(honest, scale))
            yield record, key, to_array(honest.astype(np.float16))
        elif isinstance(value, list):
            for lie in (value + value[:1], [0] * len(value), [10**18] * len(value), 7):
                yield record, key, lie
        elif isinstance(value, str):
            yield from ((record, key, lie) for lie in ("x" * 10**6, "", 3))
        else:
            yield from ((record, key, lie) for lie in NUMBERS)


@pytest.mark.parametrize("strategy", ALL)
def test_no_lie_of_one_client_ends_a_run_or_owns_its_head(strategy: str) -> None:
    honest, said = _honest(strategy)
    lies = [(kind, lie) for kind, content in said.items() for lie in _lies(content)]
    rng = np.random.default_rng(ALL.index(strategy))
    for at in rng.permutation(len(lies))[:25]:
        kind, (record, key, value) = lies[at]

        def lie(
            asked: str,
            content: RecordDict,
            told: tuple[str, str, str, Any] = (kind, record, key, value),
        ) -> RecordDict:
            if asked == told[0]:
                _put(content, *told[1:])
            return content

        if kind == phases.HANDSHAKE and key == "classes":
            continue
        outcome, notes = federated_with(lie, _config(strategy))
        _sound(outcome)
        if {client for _, client, _ in outcome.failures} == {LIAR}:
            assert any(f"client {LIAR}: " in text for text in notes.warnings)
            # Whoever is left out moves nothing.
            if kind in (phases.TRAIN, phases.INIT, phases.MOMENTS):
                assert _alike(outcome, _without(strategy, (kind,)))
        else:
            # A lie that is believed is one that an honest client might have told.
            assert not outcome.failures
            _believable(strategy, kind, record, key, value, outcome, honest)


def _put(content: RecordDict, record: str, key: str, value: Any) -> None:
    changed = dict(content[record])
    changed[key] = value
    kind = type(content[record])
    if kind is ArrayRecord:
        content[record] = ArrayRecord(changed)
        return
    try:
        content[record] = kind(changed)
    except (TypeError, ValueError):
        # Flower's own records refuse some values; another client's need not.
        broken = kind({})
        broken.__dict__["_data"] = changed
        content[record] = broken


def _believable(
    strategy: str, kind: str, record: str, key: str, value: Any, outcome: Outcome, honest: Outcome
) -> None:
    free = {"partition-id", "loss", "train-loss", "accuracy", "local-only-method"}
    ...
