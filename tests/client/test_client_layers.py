"""A client in layers: one door, one reader of a run's configuration, and no scenario of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation_of_sites import federate
from flwr.app import ConfigRecord, Context, Message, RecordDict
from small_federation import small_sites

import fedtl.client
from fedtl import flower_app
from fedtl.client.answers import answer
from fedtl.client.layer import Layer
from fedtl.client.release import released
from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.errors import FedtlError
from fedtl.messages import phases
from fedtl.messages.failure_codes import DROPPED_OUT, NOT_RELEASED
from fedtl.privacy.egress import Declaration, EgressError
from fedtl.privacy.forms import Text
from fedtl.records import array_record, from_array, to_record
from fedtl.scenario.layer import Scenario
from strategies.base import Trained

CLIENT = Path(fedtl.client.__file__).parent
CLIENTS = 4
ADVERSE = RunConfig(
    clients=CLIENTS, attack="scale", attackers=1.0, attack_strength=9.0, dropout=0.99, straggle=1.0
)


def _nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(CLIENT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path.name, node


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def test_replies_are_made_at_the_one_door() -> None:
    assert {file for file, node in _nodes() if _called(node) == "Message"} == {"release.py"}
    door = ast.parse((CLIENT / "release.py").read_text(encoding="utf-8"))
    carrying = {}
    for function in door.body:
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            calls.sort(key=lambda call: (call.lineno, call.col_offset))
            for call in calls:
                if _called(call) == "Message" and _called(call.args[0]) != "Error":
                    carrying[function.name] = [_called(one) for one in calls]
    assert carrying == {"released": ["release", "check", "Message"]}


def test_what_was_released_is_not_changed() -> None:
    for file, node in _nodes():
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            inner = target.value if isinstance(target, ast.Subscript) else target
            assert not (isinstance(inner, ast.Attribute) and inner.attr == "content"), file


def test_the_policy_alone_reads_what_a_run_says() -> None:
    attributes = [(file, node) for file, node in _nodes() if isinstance(node, ast.Attribute)]
    reads = {file for file, node in attributes if node.attr == "run_config"}
    assert reads == {"policy.py", "limits.py"}  # which hands it on as it is


def _trained(config: RunConfig, layer: Layer | None) -> list[Message]:
    """Return what four clients say to a first message to train."""
    assume_server_identity()
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2
    parts = np.split(draws.permutation(40), CLIENTS)
    with small_sites(x, y, parts) as sites:
        head = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
        content = {"config": ConfigRecord({"server-round": 1}), "arrays": to_record(head)}
        messages, contexts = [], []
        for client in range(CLIENTS):
            node, place = client + 2, {"partition-id": client}
            told = RecordDict(dict(content))
            messages.append(Message(told, dst_node_id=node, message_type=phases.TRAIN))
            contexts.append(Context(1, node, place, RecordDict(), {}))
        given: dict[str, Any] = {} if layer is None else {"layer": layer}
        return answer(messages, contexts, config=config, open_site=sites, **given)


def _weights(replies: list[Message]) -> list[bytes]:
    records = [array_record(reply.content, "arrays") for reply in replies]
    return [from_array(record["weight"]).tobytes() for record in records]


def test_without_a_layer_a_client_does_what_it_is_asked_whatever_the_scenario() -> None:
    honest = _trained(RunConfig(clients=CLIENTS), None)
    assert _weights(_trained(ADVERSE, None)) == _weights(honest)
    assert _weights(_trained(ADVERSE, Layer())) == _weights(honest)
    disturbed = _trained(ADVERSE, Scenario(ADVERSE))
    missing = [reply for reply in disturbed if reply.has_error()]
    assert {reply.error.code for reply in missing} == {DROPPED_OUT}
    present = ADVERSE.replace(dropout=0.0)
    sent = _weights(_trained(present, Scenario(present)))
    assert all(found != true for found, true in zip(sent, _weights(honest), strict=True))


@pytest.mark.parametrize("change", [{"dropout": 0.3}, {"attack": "noise"}, {"straggle": 0.5}])
def test_no_real_site_takes_part_in_a_scenario(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FedtlError, match="has no such layer"):
        federate(RunConfig(clients=3).replace(**change), tmp_path, tmp_path)


def test_a_simulated_client_in_flowers_process_has_its_scenario(tmp_path: Path) -> None:
    assume_server_identity()
    np.savez(tmp_path / "x.npz", x=np.eye(20, 3, dtype=np.float32), y=np.arange(20) % 2)
    run = {"clients": 2, "partition": "iid", "data": f"features:{tmp_path / 'x.npz'}"}
    run |= {"cache": str(tmp_path / "cache"), "dropout": 0.99}
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    message = Message(content, dst_node_id=5, message_type=phases.TRAIN)
    node: dict[str, Any] = {"partition-id": 0, "num-partitions": 2, "simulated": True}
    context = Context(1, 5, node, RecordDict(), {**RunConfig().to_mapping(), **run})
    reply = flower_app.reply(message, context)
    assert (reply.error.code, reply.error.reason) == (
        DROPPED_OUT,
        "dropped out (dropout = 0.99)",
    )


def test_the_door_holds_back_what_is_not_declared_or_contradicts_itself() -> None:
    assume_server_identity()
    asked = RecordDict({"config": ConfigRecord({"server-round": 1})})
    message = Message(asked, dst_node_id=5, message_type=phases.TRAIN)
    declared = Declaration(config={"note": {"text": Text()}})
    content = RecordDict({"note": ConfigRecord({"text": "all well"})})
    seen: list[tuple[RecordDict, RecordDict]] = []
    reply = released(message, content, declared=declared, check=lambda *both: seen.append(both))
    assert reply.content is content
    assert seen == [(content, asked)]

    def refuse(reply: RecordDict, instruction: RecordDict) -> None:
        raise EgressError("it contradicts itself")

    with pytest.raises(EgressError, match="contradicts"):
        released(message, content, declared=declared, check=refuse)
    more = RecordDict({**content, "more": ConfigRecord({"text": "a name"})})
    with pytest.raises(EgressError, match="'more' is not declared"):
        released(message, more, declared=declared, check=lambda *both: None)


def test_a_client_whose_answer_may_not_leave_says_that_alone() -> None:
    class Broken(Layer):
        def as_sent(self, *given: Any) -> list[Trained]:
            return [replace(one, arrays={"weight": np.full((2, 3), np.nan)}) for one in given[-1]]

    replies = _trained(RunConfig(clients=CLIENTS), Broken())
    assert {reply.error.code for reply in replies} == {NOT_RELEASED}
