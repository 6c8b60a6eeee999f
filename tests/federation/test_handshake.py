"""Only sites that agree take part, and a refusal names what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from scripted_grid import ScriptedGrid

from fedtl.errors import FedtlError
from fedtl.federation.handshake import Roll, handshake, wait_for_nodes
from fedtl.preparation.site import Identity

_OURS = Identity("0.2.0", "aaaa", 512, ("ant", "bee"))
_DIFFERENCES = {
    "version": ("9.9.9", ["fedtl 9.9.9", "0.2.0"]),
    "fingerprint": ("bbbb", ["fingerprint bbbb", "aaaa"]),
    "feature_size": (64, ["size 64", "512"]),
    "classes": (("bee", "ant"), ["bee, ant", "ant, bee"]),
}


def _answer(
    partition_id: int,
    identity: Identity = _OURS,
    *,
    without: str = "",
    also: Mapping[str, Any] = MappingProxyType({}),
) -> RecordDict:
    """Return what a site says of itself, without one key or with others in its census."""
    who = {
        "fedtl-version": identity.version,
        "backbone-fingerprint": identity.fingerprint,
        "feature-size": identity.feature_size,
        "classes": list(identity.classes),
        "table-schema": identity.table_schema,
    }
    counts = {
        "partition-id": partition_id,
        "num-examples": 8 + abs(partition_id),
        "held-out": 2,
        "label-counts": [4, 6 + abs(partition_id)],
        "classes-left-out": 0,
        **also,
    }
    who.pop(without, None)
    counts.pop(without, None)
    return RecordDict({"identity": ConfigRecord(who), "census": MetricRecord(counts)})  # type: ignore[arg-type]


def _handshake(
    answers: Mapping[int, RecordDict | Error | None], clients: int, expected: Identity | None
) -> Roll:
    """Shake hands with nodes by node id; ``None`` never answers."""

    def answer(message: Message) -> Message | None:
        said = answers[message.metadata.dst_node_id]
        return None if said is None else Message(said, reply_to=message)

    nodes = sorted(answers)
    grid = ScriptedGrid(answer, arrival=list(reversed(range(len(nodes)))))
    return handshake(grid, nodes, clients, expected)


def test_sites_that_agree_are_enrolled_under_their_partition_ids() -> None:
    roll = _handshake({7: _answer(2), 8: _answer(0), 9: _answer(1)}, 3, _OURS)
    assert roll.identity == _OURS
    assert roll.partitions == {8: 0, 9: 1, 7: 2}
    assert roll.refused == []
    card = roll.cards[2]
    assert (card.client, card.examples, card.held_out, card.label_counts) == (2, 10, 2, (4, 8))
    assert {entry.client for entry in roll.entries} == {0, 1, 2}
    census_of_2 = [e for e in roll.entries if e.client == 2 and e.record == "census"]
    assert [(e.direction, e.bytes) for e in census_of_2] == [("up", 8 * 6)]
    assert roll.bytes_up == sum(e.bytes for e in roll.entries if e.direction == "up")
    assert roll.bytes_down == sum(e.bytes for e in roll.entries if e.direction == "down") == 24


@pytest.mark.parametrize("field", _DIFFERENCES)
@pytest.mark.parametrize("expected", [_OURS, None])
def test_a_site_that_differs_is_refused_and_both_values_are_named(
    field: str, expected: Identity | None
) -> None:
    value, said = _DIFFERENCES[field]
    other = replace(_OURS, **{field: value})  # type: ignore[arg-type]
    roll = _handshake({5: _answer(0), 6: _answer(1, other), 7: _answer(2)}, 3, expected)
    assert roll.identity == _OURS
    assert roll.partitions == {5: 0, 7: 2}
    [refused] = roll.refused
    assert refused.client == 1
    assert [words for words in said if words not in refused.reason] == []


def test_without_an_expectation_the_majority_or_else_the_first_partition_counts() -> None:
    other = replace(_OURS, fingerprint="bbbb")
    roll = _handshake({5: _answer(0), 6: _answer(1, other), 7: _answer(2, other)}, 3, None)
    assert (roll.identity, roll.partitions) == (other, {6: 1, 7: 2})
    tied = _handshake({5: _answer(1, other), 6: _answer(0)}, 2, None)
    assert (tied.identity, tied.partitions) == (_OURS, {6: 0})


def test_an_expectation_counts_more_than_a_majority() -> None:
    other = replace(_OURS, version="2.0")
    roll = _handshake({5: _answer(0), 6: _answer(1, other), 7: _answer(2, other)}, 3, _OURS)
    assert roll.partitions == {5: 0}
    assert [failure.client for failure in roll.refused] == [1, 2]


def test_when_nobody_agrees_the_error_says_why() -> None:
    with pytest.raises(FedtlError, match=r"No client can take part: .*fingerprint aaaa.*zzzz"):
        _handshake({5: _answer(0)}, 1, replace(_OURS, fingerprint="zzzz"))


def test_nodes_of_one_partition_are_all_refused_and_the_others_go_on() -> None:
    roll = _handshake({5: _answer(1), 6: _answer(1), 7: _answer(0), 8: _answer(1)}, 3, _OURS)
    assert roll.partitions == {7: 0}
    assert [failure.client for failure in roll.refused] == [1, 1, 1]
    assert all("3 nodes claim partition-id 1" in failure.reason for failure in roll.refused)
    assert {entry.client for entry in roll.entries if entry.direction == "up"} == {0, 1}
    with pytest.raises(FedtlError, match="2 nodes claim partition-id 1"):
        _handshake({5: _answer(1), 6: _answer(1)}, 2, _OURS)


@pytest.mark.parametrize("partition_id", [2, 17])
def test_a_partition_id_that_the_federation_has_not_is_refused(partition_id: int) -> None:
    answers = {5: _answer(0), 6: _answer(partition_id)}
    roll = _handshake(answers, 2, _OURS)
    assert roll.partitions == {5: 0}
    [refused] = roll.refused
    assert refused.client == partition_id
    assert f"partition-id {partition_id} is not" in refused.reason
    assert "clients = 2" in refused.reason
    with pytest.raises(FedtlError, match="No client can take part"):
        _handshake({6: answers[6]}, 2, _OURS)


@pytest.mark.parametrize(
    ("also", "said"),
    [
        ({"partition-id": -1}, "partition-id in 'census' is -1, which is not a count"),
        ({"partition-id": 1.0}, "partition-id in 'census' is 1.0"),
        ({"num-examples": 2**53}, "num-examples in 'census' is 9007199254740992"),
        ({"num-examples": 10}, "label-counts add up to 11 examples, but num-examples = 10"),
        ({"held-out": 3}, "label-counts add up to 11 examples"),
        ({"held-out": 1}, "label-counts add up to 11 examples"),
        ({"label-counts": [4, 4, 3]}, "label-counts has 3 entries for 2 classes"),
        ({"label-counts": [12, -1]}, "has an entry that is -1"),
        ({"label-counts": [5.0, 6.0]}, "has an entry that is 5.0"),
        ({"label-counts": 11}, "is 11, which is not a list"),
    ],
)
def test_a_census_that_cannot_be_is_refused(also: dict[str, Any], said: str) -> None:
    roll = _handshake({5: _answer(0), 6: _answer(1, also=also)}, 2, _OURS)
    assert roll.partitions == {5: 0}
    assert said in roll.refused[0].reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "x" * 5_000_000),
        ("fingerprint", "\x1b[2J"),
        ("classes", ("ant", "b" * 501)),
        ("feature_size", 2**40),
    ],
)
def test_an_identity_that_cannot_be_kept_is_refused_in_one_line(field: str, value: Any) -> None:
    liar = replace(_OURS, **{field: value})
    roll = _handshake({5: _answer(0), 6: _answer(1, liar)}, 2, None)
    assert roll.partitions == {5: 0}
    assert len(roll.refused[0].reason) < 700 and roll.refused[0].reason.isprintable()


def test_nodes_that_fail_are_refused_and_the_others_go_on() -> None:
    answers = {4: None, 5: Error(2, "no such data"), 6: _answer(0), 7: _answer(1)}
    roll = _handshake(answers, 4, _OURS)
    assert roll.partitions == {6: 0, 7: 1}
    assert sorted(failure.reason for failure in roll.refused) == [
        "no reply in time",
        "no such data",
    ]
    with pytest.raises(FedtlError, match="No client can take part: no such data"):
        _handshake({5: Error(2, "no such data")}, 1, _OURS)


def test_another_schema_of_tables_is_told_as_such_without_its_columns() -> None:
    theirs = replace(_OURS, fingerprint="tabular", table_schema="5c4e" * 16)
    other = replace(theirs, fingerprint="tabulated", table_schema="ab12" * 16)
    pictures = replace(_OURS, fingerprint="bbbb")
    answers = {5: _answer(0, theirs), 6: _answer(1, other), 7: _answer(2, pictures)}
    roll = _handshake({**answers, 8: _answer(3, theirs)}, 4, theirs)
    assert sorted(roll.partitions.values()) == [0, 3]
    reasons = {failure.client: failure.reason for failure in roll.refused}
    assert reasons[1].startswith("refused: the site's table-schema says otherwise what columns are")
    assert "5c4e" * 16 in reasons[1] and "ab12" * 16 in reasons[1]
    assert "set='table-schema=FILE'" in reasons[1] and "fingerprint" not in reasons[1]
    # Inputs of another kind are no matter of schemas.
    assert "fingerprint bbbb" in reasons[2] and "table-schema" not in reasons[2]


@pytest.mark.parametrize(
    "key",
    [
        "fedtl-version",
        "backbone-fingerprint",
        "feature-size",
        "classes",
        "table-schema",
        "partition-id",
        "num-examples",
        "held-out",
        "label-counts",
        "classes-left-out",
    ],
)
def test_a_site_that_does_not_say_all_is_refused(key: str) -> None:
    roll = _handshake({5: _answer(0), 6: _answer(1, without=key)}, 2, _OURS)
    assert roll.partitions == {5: 0}
    [refused] = roll.refused
    assert key in refused.reason


def _with_name_of_a_patient(answer: RecordDict) -> RecordDict:
    answer.config_records["identity"]["patient"] = "Ada"
    return answer


@pytest.mark.parametrize(
    "answer",
    [_answer(1, also={"patient": 12}), _with_name_of_a_patient(_answer(1))],
    ids=["census", "identity"],
)
def test_a_site_that_says_too_much_is_refused(answer: RecordDict) -> None:
    roll = _handshake({5: _answer(0), 6: answer}, 2, _OURS)
    assert roll.partitions == {5: 0}
    assert "patient in" in roll.refused[0].reason


def test_a_run_waits_until_all_are_connected() -> None:
    grid = ScriptedGrid(lambda message: None, nodes=[[9], [9, 4, 7]])
    told: list[str] = []
    assert wait_for_nodes(grid, 3, patience=60, waits=told.append) == [4, 7, 9]
    assert told == ["waiting for clients: 1 of 3 are connected"]


def test_too_few_nodes_are_counted_when_patience_ends() -> None:
    grid = ScriptedGrid(lambda message: None, nodes=[[9]])
    with pytest.raises(FedtlError, match=r"Only 1 of 3 clients are connected after 0 s.*= 1\."):
        wait_for_nodes(grid, 3, patience=0.01, waits=lambda text: None)
