"""The ledger that a site keeps: the server's lines and more, for good; or else nothing leaves."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation_of_sites import federate, folder_of_sites
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from fedtl import flower_app
from fedtl.client import ledger as ledger_module
from fedtl.client.ledger import COLUMNS, Ledger, LedgerError
from fedtl.client.release import without_content
from fedtl.config import RunConfig
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.messages import phases
from fedtl.messages.failure_codes import FAILED, NOT_ENTERED, REFUSED, SENTENCES
from fedtl.observers.run_folder import RunFolder
from fedtl.observers.together import Observers
from fedtl.records import to_record

SITES = 3
SERVERS = ("round", "client", "direction", "record", "shape", "bytes")
Node = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_sites(tmp_path_factory.mktemp("own"), SITES)


@pytest.fixture
def node(folder: Path, tmp_path: Path) -> Node:
    """The node config of a site, whose ledger lies in its cache."""
    data, cache = f"features:{folder / '0.npz'}", str(tmp_path / "cache")
    return {"partition-id": 0, "num-partitions": SITES, "data": data, "cache": cache}


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _asked(node: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Message, Context]:
    """Return a site's answer to the first message of a run, and its context then."""
    context = Context(8, 5, dict(node), RecordDict(), {**RunConfig().to_mapping(), **run})
    return flower_app.reply(_message(), context), context


def _message(content: RecordDict | None = None) -> Message:
    assume_server_identity()
    content = content or RecordDict({"config": ConfigRecord({"server-round": 0})})
    return Message(content, dst_node_id=5, message_type=phases.HANDSHAKE)


def _digest(record: Any) -> str:
    """Return what a record's digest is documented to be."""
    if not isinstance(record, ArrayRecord):
        return hashlib.sha256(json.dumps(dict(record)).encode()).hexdigest()
    written = io.BytesIO()
    for name, array in record.items():
        value = array.numpy()
        written.write(json.dumps([name, str(value.dtype), list(value.shape)]).encode() + b"\n")
        np.save(written, value)
    return hashlib.sha256(written.getvalue()).hexdigest()


@pytest.mark.parametrize("strategy", ["scaffold", "fed3r"])
def test_a_sites_ledger_is_the_servers_line_by_line(
    strategy: str, folder: Path, tmp_path: Path
) -> None:
    config = RunConfig(clients=SITES, rounds=2, strategy=strategy, out=str(tmp_path / "run"))
    run = RunFolder.create(config, "sites")
    _, _, told = federate(config, folder, tmp_path / "caches", journal=Observers([run]))
    run.close()
    servers = _lines(tmp_path / "run" / "egress.csv")
    nodes = sorted({reply.metadata.src_node_id for reply in told})
    for site in range(SITES):
        own = _lines(tmp_path / "caches" / str(site) / "ledger" / "ledger.csv")
        theirs = [line for line in servers if line["client"] == str(site)]
        assert len(theirs) >= 10
        assert [[line[key] for key in SERVERS] for line in own] == [
            [line[key] for key in SERVERS] for line in theirs
        ]
        replies = [reply for reply in told if reply.metadata.src_node_id == nodes[site]]
        records = [record for reply in replies for record in reply.content.values()]
        left = [line for line in own if line["direction"] == "up"]
        assert [line["sha256"] for line in left] == [_digest(record) for record in records]
        assert {(line["run"], line["error"]) for line in own} == {("1", "")}
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"]) for line in own)
        assert own[0]["message"] == phases.HANDSHAKE and own[-1]["message"] == phases.EVALUATE


def test_refusals_and_failures_are_entered_as_they_leave(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(node["cache"]) / "ledger" / "ledger.csv"
    refused = _asked(node, {"data": "/etc"})[0].error.reason or ""
    _asked({**node, "Ada": 1}, {})
    _asked({key: node[key] for key in ("partition-id", "cache")}, {})
    monkeypatch.setattr("fedtl.client.own_data._answer", None)
    _asked(node, {})
    lines = _lines(path)
    assert [line["direction"] for line in lines] == ["down", "up"] * 4
    settings = "This site's own settings are wrong; its log says how"
    said = [
        (REFUSED, refused),
        (REFUSED, settings),
        (REFUSED, settings),
        (FAILED, SENTENCES[FAILED]),
    ]
    left = lines[1::2]
    assert refused.startswith("This site refuses data")
    assert [line["error"] for line in left] == [f"{code}: {reason}" for code, reason in said]
    for line, (_, reason) in zip(left, said, strict=True):
        assert (line["record"], line["bytes"]) == ("", str(len(reason)))
        assert line["sha256"] == hashlib.sha256(reason.encode()).hexdigest()
    assert {line["run"] for line in lines} == {"8"}


def test_a_site_says_where_its_ledger_is_and_a_run_does_not(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "away" / "own"
    assert _asked({**node, "ledger": str(own)}, {})[0].has_content()
    assert len(_lines(own / "ledger.csv")) == 3
    assert [path.stat().st_mode & 0o777 for path in (own, own / "ledger.csv")] == [0o700, 0o600]
    own.chmod(0o755)
    assert _asked({**node, "ledger": str(own)}, {})[0].has_content()
    assert own.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "cache" / "ledger").exists()
    reply, _ = _asked(node, {"ledger": str(tmp_path / "theirs")})
    assert str(reply.error.reason).startswith("This site refuses 'ledger'")
    # It does not follow a cache that a run may name: it is the user's own then.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    del node["cache"]
    reply, _ = _asked({**node, "allow": "cache"}, {"cache": str(tmp_path / "theirs")})
    assert reply.has_content()
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {"features", "sites"}
    assert len(_lines(tmp_path / "home" / "fedtl" / "ledger" / "ledger.csv")) == 3


def test_a_simulated_client_keeps_no_ledger(node: Node) -> None:
    run = {"data": node.pop("data"), "clients": SITES, "partition": "iid"}
    assert _asked({**node, "simulated": True}, run)[0].has_content()
    assert not (Path(node["cache"]) / "ledger").exists()


# --- killed, full, taken --------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.of({"ledger": str(tmp_path / "own"), "partition-id": 3}, 7)


def _enter(ledger: Ledger, reason: str) -> None:
    message = _message()
    ledger.enter_down(message)
    ledger.enter_up(message, without_content(message, REFUSED, reason))


def test_wherever_a_process_is_killed_no_line_is_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    reason = "refuses \"data\", and 'more'"
    _enter(ledger, reason)
    _enter(ledger, reason)
    whole = ledger.path.read_bytes()
    rows = list(csv.reader(io.StringIO(whole.decode())))
    assert len(rows) == 5 and rows[0] == list(COLUMNS)
    for cut in range(len(whole) + 1):
        ledger.path.write_bytes(whole[:cut])
        _enter(ledger, "again, 'and' \"again\"")
        after = ledger.path.read_bytes()
        assert after.startswith(whole[:cut])
        found = list(csv.reader(io.StringIO(after.decode())))
        lines = whole[:cut].count(b"\n")
        kept = max(lines, 1)
        torn = found[kept:-2]
        assert found[:kept] == rows[:kept]
        assert [row[-2] for row in found[-2:]] == ["", "7002: again, 'and' \"again\""]
        assert len(torn) == (lines > 0 and cut > len(b"".join(whole.splitlines(True)[:lines])))
        # How a reader tells such a line; but for one that lacked its end alone.
        for row in torn:
            assert len(row) < len(COLUMNS) or len(row[-1]) < 64 or row == rows[kept]


def test_a_line_is_on_the_disk_before_what_it_says_leaves(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    monkeypatch.setattr("os.fsync", lambda file: done.append(os.fstat(file).st_size))
    _enter(ledger, "no")
    assert len(done) == 2
    assert done[1] == ledger.path.stat().st_size > done[0]


def _full_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the disk be full in the middle of a line, after so many lines."""
    write, done = os.write, []

    def some(file: int, content: bytes) -> int:
        done.append(file)
        if len(done) == writes + 1:
            return write(file, content[: len(content) // 2])
        if len(done) > writes + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content)

    monkeypatch.setattr("os.write", some)


@pytest.mark.parametrize("trouble", ["a link", "a folder", "full", "full at the end", "no text"])
def test_nothing_leaves_that_cannot_be_entered(
    trouble: str, node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(node["cache"]) / "ledger" / "ledger.csv"
    with pytest.MonkeyPatch.context() as patch:
        if trouble == "a link":
            path.parent.mkdir(parents=True)
            (tmp_path / "elsewhere").write_text("")
            path.symlink_to(tmp_path / "elsewhere")
        elif trouble == "a folder":
            path.mkdir(parents=True)
        elif trouble == "no text":
            node["ledger"] = 5
        else:
            _full_after(0 if trouble == "full" else 1, patch)
        reply, context = _asked(node, {})
    assert (reply.error.code, reply.error.reason) == (NOT_ENTERED, SENTENCES[NOT_ENTERED])
    assert dict(context.state) == {}
    assert caplog.records[-1].exc_info is None
    assert re.search("ledger|link", caplog.records[-1].getMessage())
    if trouble.startswith("full"):  # once there is room, all goes on below the line that was begun
        assert "No space left on device" in caplog.records[-1].getMessage()
        assert _asked(node, {})[0].has_content()
        assert [line["direction"] for line in _lines(path)][-3:] == ["down", "up", "up"]
    elif trouble == "a link":
        assert (tmp_path / "elsewhere").read_text() == ""


def test_processes_take_turns(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_LOCK_SECONDS", 0.02)
    _enter(ledger, "no")
    with ledger.path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="another process is at work on it"):
            _enter(ledger, "no")
    _enter(ledger, "no")
    assert len(_lines(ledger.path)) == 4


def test_what_a_server_sends_keeps_to_its_lines(ledger: Ledger) -> None:
    names: Sequence[str] = [f'=cmd()\n"{"x" * 2000}{number}' for number in range(100)]
    content = {name: to_record({"\r\n,": np.zeros(2)}) for name in names}
    ledger.enter_down(_message(RecordDict({**content})))
    lines = _lines(ledger.path)
    assert len(lines) == 33 == ledger.path.read_bytes().count(b"\n") - 1
    assert lines[-1]["record"] == "others" and lines[-1]["shape"] == "68 records"
    assert sum(int(line["bytes"]) for line in lines) == 100 * (128 + 16)
    assert all(line["record"].startswith("'=cmd() \"xx") for line in lines[:-1])
    assert max(map(len, ledger.path.read_text().splitlines())) < 2000
    assert {line["round"] for line in lines} == {""}
