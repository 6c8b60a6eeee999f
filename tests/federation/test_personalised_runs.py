"""Whole runs whose clients end with heads of their own: what leaves, what is told, what stays."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from in_process import complaint, finished
from unreported_run import resumed, without_report

import strategies
from fedtl import predict, simulate
from fedtl.config import RunConfig
from fedtl.federation.checkpoint import Checkpoint, checkpoint_paths, read_checkpoint
from fedtl.federation.evaluation import ClientTallies, Tally
from fedtl.federation.outcome import Outcome
from fedtl.messages import phases
from fedtl.observers.run_folder import RunFolder
from fedtl.privacy.egress import EgressError, release
from fedtl.records import to_record
from fedtl.transfer.heads import build_head

CLIENTS, ROUNDS, FEATURES, CLASSES = 4, 4, 6, 3
MLP = {"head": "mlp", "hidden_units": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features at four sites that name two of the classes the other way round, with a test split.

    What serves a site is a head of its own.
    """
    rng = np.random.default_rng(0)
    shape, site = rng.integers(0, CLASSES, 240), np.arange(240) % CLIENTS
    x = rng.normal(size=(CLASSES, FEATURES))[shape] + 0.6 * rng.normal(size=(240, FEATURES))
    y = np.where((site % 2 == 1) & (shape < 2), 1 - shape, shape)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x.astype(np.float32), y=y, site=site, test=np.arange(240) >= 220)
    return path


def _config(data: Path, out: Path, strategy: str, **changes: Any) -> RunConfig:
    plain: dict[str, Any] = {"partition": "natural", "engine": "inline", "rounds": ROUNDS}
    return RunConfig(data=f"features:{data}", out=str(out), strategy=strategy, **(plain | changes))


def _simulated(data: Path, out: Path, strategy: str, **changes: Any) -> Outcome:
    run, _ = without_report(_config(data, out, strategy, **changes))
    return run.outcome


def _sent(out: Path) -> set[tuple[str, str]]:
    """Return record and contents of all that left a site after the handshake."""
    with (out / "egress.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["direction"] == "up"]
    return {(line["record"], line["shape"]) for line in lines if line["round"] != "0"}


def _told(tallies: dict[int, ClientTallies] | None) -> dict[int, list[Any]]:
    """Return scores in a form that can be compared, the mean loss to its last bit."""
    assert tallies is not None

    def plain(tally: Tally) -> list[Any]:
        return [tally.loss, tally.correct.tolist(), tally.examples.tolist()]

    return {client: [plain(told.held_out), plain(told.test)] for client, told in tallies.items()}


def test_local_is_local_only_to_the_bit(data: Path, tmp_path: Path) -> None:
    local = _simulated(data, tmp_path / "local", "local")
    assert _told(local.federated) == _told(local.local_only)
    other = _simulated(data, tmp_path / "fedavg", "fedavg")
    assert _told(local.federated) == _told(other.local_only)
    assert _told(other.federated) != _told(other.local_only)
    assert local.personal is other.personal is None
    assert local.rounds == 1
    assert {record for record, _ in _sent(tmp_path / "local")} == {"metrics"}


@pytest.mark.parametrize(
    ("strategy", "changes", "arrays"),
    [
        ("ditto", {}, "weight[3×6] bias[3]"),
        ("apfl", {}, "weight[3×6] bias[3]"),
        ("fedper", MLP, "hidden.weight[5×6] hidden.bias[5]"),
        ("fedavg", {"personalise": 2}, "weight[3×6] bias[3]"),
    ],
)
def test_no_head_of_a_clients_own_leaves_its_site(
    strategy: str, changes: dict[str, Any], arrays: str, data: Path, tmp_path: Path
) -> None:
    outcome = _simulated(data, tmp_path / "run", strategy, fraction=0.5, **changes)
    sent = _sent(tmp_path / "run")
    assert {record for record, _ in sent} == {"arrays", "metrics"}
    assert {shape for record, shape in sent if record == "arrays"} == {arrays}
    assert not outcome.failures
    own = outcome.federated if strategy == "fedper" else outcome.personal
    assert own is not None and own.keys() == set(range(CLIENTS))
    for told in own.values():
        assert told.held_out.total and told.test.total == 20
        assert (told.held_out.confusion is not None) == (strategy == "fedper")
        assert told.test.confusion is None
    assert _told(own) != _told(outcome.local_only)


def test_a_reply_with_the_last_layer_is_refused() -> None:
    head = build_head("mlp", features=FEATURES, classes=CLASSES, hidden_units=5)
    strategy = strategies.build(RunConfig(strategy="fedper", head="mlp"), head)
    declared = phases.declarations(strategy, FEATURES, CLASSES)[phases.TRAIN]
    whole = head.initial("seeded", 0)
    metrics = MetricRecord(dict.fromkeys(sorted(phases.TRAIN_FORMS), 1))

    def reply(arrays: dict[str, Any]) -> RecordDict:
        return RecordDict({"arrays": to_record(arrays), "metrics": metrics})

    release(reply({name: whole[name] for name in strategy.uplink}), declared)
    with pytest.raises(EgressError, match=r"output\.weight where hidden\.bias"):
        release(reply(whole), declared)


def test_a_site_that_takes_no_part_is_served_by_the_global_head(data: Path, tmp_path: Path) -> None:
    outcome = _simulated(data, tmp_path / "run", "ditto", holdout_site="3")
    assert outcome.personal is not None and len(outcome.personal) == CLIENTS - 1
    assert all(told.held_out.total for told in outcome.personal.values())
    assert not any(told.unseen.total for told in outcome.personal.values())
    unseen = [told.unseen for told in outcome.federated.values()]
    assert unseen[0].total > 40
    assert {told.loss for told in unseen} == {unseen[0].loss}


def test_sites_that_disagree_are_served_by_heads_of_their_own(data: Path, tmp_path: Path) -> None:
    outcome = _simulated(data, tmp_path / "run", "ditto", rounds=20)
    assert outcome.personal is not None
    shared, own = (
        np.mean([told.held_out.accuracy for told in tallies.values()])
        for tallies in (outcome.federated, outcome.personal)
    )
    assert own > shared + 0.15


def test_every_round_scores_the_heads_that_clients_would_use(data: Path, tmp_path: Path) -> None:
    """What a round tells of the last one is what that would have told at the end of a run."""
    rows = []
    for rounds in (2, 3):
        out = tmp_path / str(rounds)
        _simulated(data, out, "fedper", rounds=rounds, **MLP)
        rows.append([json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])
    for measure in ("loss", "accuracy", "mean_client_accuracy", "worst_client_accuracy"):
        assert [row[measure] for row in rows[0]] == [row[measure] for row in rows[1][:2]]


class Cut(BaseException):
    """Like SIGKILL, nothing of ours catches it."""


@pytest.mark.parametrize(("strategy", "changes"), [("ditto", {}), ("fedper", MLP)])
def test_own_heads_survive_a_resume(
    strategy: str, changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    undisturbed = _simulated(data, whole, strategy, fraction=0.5, **changes)
    keep = RunFolder.checkpoint

    def kept_and_cut(folder: RunFolder, checkpoint: Checkpoint) -> None:
        keep(folder, checkpoint)
        if checkpoint.server_round == 2:
            raise Cut

    out = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        patch.setattr(RunFolder, "checkpoint", kept_and_cut)
        _simulated(data, out, strategy, fraction=0.5, **changes)
    outcome, checkpoint = resumed(out)
    assert checkpoint is not None and checkpoint.memories
    ends = [read_checkpoint(checkpoint_paths(run / "checkpoint")[0])[0] for run in (whole, out)]
    memories = [
        {
            client: {name: value.tobytes() for name, value in memory.items()}
            for client, memory in end.memories.items()
        }
        for end in ends
        if end is not None
    ]
    assert memories[0] == memories[1]
    assert memories[0] != {
        client: {name: value.tobytes() for name, value in memory.items()}
        for client, memory in checkpoint.memories.items()
    }
    for told in ("federated", "personal"):
        before, after = getattr(undisturbed, told), getattr(outcome, told)
        assert (before is None) == (after is None) == (told == "personal" and strategy == "fedper")
        if before is not None:
            assert _told(before) == _told(after)


# --- what is said ---------------------------------------------------------------------------------


def _finished(data: Path, out: Path, *flags: object) -> tuple[str, dict[str, Any]]:
    scenario = ("--data", f"features:{data}", "--partition", "natural", "--engine", "inline")
    end = finished(simulate.main, *scenario, "--rounds", 3, *flags, "--out", out)
    assert end.exit_code == 0, end.stderr
    assert max(map(len, end.stdout.splitlines()[:-1])) <= 80
    return end.stdout, json.loads((out / "summary.json").read_text())


def _clients(out: Path) -> list[dict[str, str]]:
    with (out / "clients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_tells_of_personal_heads_beside_the_global_one(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    printed, summary = _finished(data, out, "--strategy", "fed3r", "--personalise", 8)
    rows = _clients(out)
    own = [float(row["personal_accuracy"]) for row in rows]
    assert summary["personal"]["mean_client_accuracy"] == pytest.approx(np.mean(own), abs=1e-6)
    assert summary["personal"]["worst_client_accuracy"] == pytest.approx(min(own), abs=1e-6)
    assert own != [float(row["federated_accuracy"]) for row in rows]
    for row, accuracy in zip(rows, own, strict=True):
        gain = accuracy - float(row["local_only_accuracy"])
        assert float(row["gain"]) == pytest.approx(gain, abs=2e-6)
        assert row["harmed"] == ("yes" if row["personal_verdict"] == "worse" else "no")
    headings = [line.split() for line in printed.splitlines() if "Personal" in line]
    assert headings[0][-5:] == ["Local-only", "Corrected", "Gain", "Personal", "Gain"]
    assert headings[1][-5:] == ["Local-only", "Federated", "Corrected", "Personal", "Centralised"]
    page = (out / "report.html").read_text()
    assert "with the heads of their own" in page
    assert (out / "head.safetensors").exists()


@pytest.mark.parametrize(("strategy", "head"), [("fedper", "mlp"), ("local", "linear")])
def test_a_run_without_a_global_head_speaks_of_none(
    strategy: str, head: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    printed, summary = _finished(data, out, "--strategy", strategy, "--head", head)
    assert not summary["global_head"]
    assert summary["personal"] is None
    assert "Federated" not in printed and "Personal" in printed
    page = (out / "report.html").read_text()
    for claim in ("global head", "shared head", "ederated head", ">Federated<", "(federated"):
        assert claim not in page
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["test_accuracy"] is None for line in lines)
    assert json.loads(lines[-1])["mean_client_accuracy"] == pytest.approx(
        summary["federated"]["mean_client_accuracy"]
    )
    assert "personal_accuracy" not in _clients(out)[0]
    assert not (out / "head.safetensors").exists()
    said = complaint(predict.main, out, f"features:{data}")
    assert f"strategy = '{strategy}' every client has its own" in said
