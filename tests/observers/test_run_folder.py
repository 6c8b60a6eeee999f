"""What a run leaves behind: every file, and figures that agree with each other."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Finished, finished
from PIL import Image
from safetensors.numpy import load_file
from scipy.stats import binomtest

from fedtl import simulate
from fedtl.config import RunConfig
from fedtl.data.hospitals.names import hospital_names

CHOSEN = True

ROUNDS, SITES, IMAGES, TEST_IMAGES = 3, 3, 90, 24
SCENARIO = [
    *("--hospitals-images", IMAGES, "--hospitals-test-images", TEST_IMAGES),
    *("--hospitals-sites", SITES, "--hospitals-size", 32, "--partition", "natural"),
    *("--rounds", ROUNDS, "--fraction", 0.7, "--engine", "inline", "--seed", 3),
]
CLIENT_COLUMNS = ["client", "name", "examples", "held_out"]
WAYS = ("local_only", "federated", "centralised")
SCORES = {"accuracy", "balanced_accuracy", "mean_client_accuracy", "worst_client_accuracy"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ended(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A finished run's folder, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    end = finished(simulate.main, *SCENARIO, "--cache", cache, "--out", out)
    assert end.exit_code == 0, end.stderr
    return out, end


@pytest.fixture(scope="module")
def run(ended: tuple[Path, Finished]) -> Path:
    return ended[0]


def _summary(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there_and_nothing_else(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "checkpoint",
        "clients.csv",
        "config.toml",
        "contents.npz",
        "egress.csv",
        "head.safetensors",
        "metrics.jsonl",
        "partition.json",
        "report.html",
        "run.json",
        "summary.json",
    }
    # The latest and the one before, and nothing half-written.
    assert {path.name for path in (run / "checkpoint").iterdir()} == {
        f"round-{number:07d}.safetensors" for number in (ROUNDS - 1, ROUNDS)
    }


def test_the_summary_has_every_figure(run: Path) -> None:
    summary = _summary(run)
    assert summary["rounds"] == ROUNDS
    assert summary["clients"] == SITES
    assert summary["strategy"] == "fedavg"
    for way in WAYS:
        assert summary[way].keys() >= SCORES, way
        for score in SCORES:
            assert 0 <= summary[way][score] <= 1, (way, score)
    seconds = summary["seconds"]
    parts = {"start_up", "features", "handshake", "rounds", "closing", "reference"}
    assert seconds.keys() == {"total", "per_round_median", *parts}
    assert all(value >= 0 for value in seconds.values())
    assert sum(seconds[part] for part in parts) <= seconds["total"]
    assert seconds["per_round_median"] <= seconds["rounds"]
    assert summary["peak_rss_mb"] > 50
    assert summary["versions"].keys() >= {"fedtl", "python", "torch", "torchvision", "flwr", "ray"}
    assert summary["harmed_clients"] == [
        int(row["client"]) for row in _table(run / "clients.csv") if row["harmed"] == "yes"
    ]
    assert summary["failures"] == []
    for digest in ("head_sha256", "backbone_fingerprint"):
        assert re.fullmatch("[0-9a-f]{64}", summary[digest]), digest
    assert len(summary["classes"]) == 8


def test_a_line_of_metrics_per_round(run: Path) -> None:
    rows = _metrics(run)
    assert [row["round"] for row in rows] == list(range(1, ROUNDS + 1))
    for row in rows:
        assert row["clients"] == 2, "a fraction of 0.7 of 3 clients"
        assert row["failed"] == []
        assert row["bytes_up"] > 0 < row["bytes_down"]
        assert row["seconds"] > 0
        assert row["loss"] > 0 < row["train_loss"]
        assert row["worst_client_accuracy"] <= row["mean_client_accuracy"] <= 1
        assert 0 <= row["test_accuracy"] <= 1


def test_the_last_round_the_clients_and_the_summary_agree(run: Path) -> None:
    last, clients, summary = _metrics(run)[-1], _table(run / "clients.csv"), _summary(run)
    for way in WAYS:
        accuracies = np.array([float(row[f"{way}_accuracy"]) for row in clients])
        assert summary[way]["mean_client_accuracy"] == pytest.approx(accuracies.mean(), abs=1e-6)
        assert summary[way]["worst_client_accuracy"] == pytest.approx(accuracies.min(), abs=1e-6)
    held_out = np.array([int(row["held_out"]) for row in clients])
    federated = np.array([float(row["federated_accuracy"]) for row in clients])
    assert last["mean_client_accuracy"] == pytest.approx(federated.mean(), abs=1e-6)
    assert last["accuracy"] == pytest.approx(federated @ held_out / held_out.sum(), abs=1e-6)
    assert last["accuracy"] == pytest.approx(summary["federated"]["accuracy"], abs=1e-9)
    new = summary["on_new_data"]
    assert last["test_accuracy"] == new["federated"]["accuracy"]
    assert new["examples"] == new["federated"]["examples"] == TEST_IMAGES
    assert f"{TEST_IMAGES} examples" in new["scored_on"]
    for told in (summary["federated"], new["federated"]):
        assert told["accuracy"] == pytest.approx(told["correct"] / told["examples"])
        theirs = binomtest(told["correct"], told["examples"]).proportion_ci(method="wilson")
        assert told["accuracy_low"] == pytest.approx(theirs.low)
        assert told["accuracy_high"] == pytest.approx(theirs.high)


def test_clients_are_one_row_each(run: Path) -> None:
    rows = _table(run / "clients.csv")
    classes = _summary(run)["classes"]
    kinds = ("accuracy", "low", "high", "balanced_accuracy")
    scores = [f"{way}_{kind}" for way in (*WAYS, "corrected") for kind in kinds]
    counts = ("both", "only_local", "only_ours", "neither")
    gains = [
        f"{way}_{kind}"
        for way in ("federated", "corrected")
        for kind in ("gain", "gain_low", "gain_high", "verdict", *counts)
    ]
    labels = [f"label:{name}" for name in classes]
    gains += [f"{way}_{kind}" for way in ("federated", "local_only") for kind in ("auroc", "f1")]
    told = [*CLIENT_COLUMNS, *scores, *gains, "gain", "harmed", "local_only_method", *labels]
    assert list(rows[0]) == told
    assert [row["client"] for row in rows] == [str(client) for client in range(SITES)]
    assert [row["name"] for row in rows] == list(hospital_names(SITES))
    for row in rows:
        assert sum(int(row[name]) for name in labels) == int(row["examples"]) + int(row["held_out"])
        gain = float(row["federated_accuracy"]) - float(row["local_only_accuracy"])
        assert float(row["gain"]) == pytest.approx(gain, abs=2e-6)
        assert row["gain"] == row["federated_gain"]
        assert row["harmed"] == ("yes" if row["federated_verdict"] == "worse" else "no")
        lost, won = int(row["federated_only_local"]), int(row["federated_only_ours"])
        assert gain == pytest.approx((won - lost) / int(row["held_out"]), abs=2e-6)
        assert sum(int(row[f"federated_{kind}"]) for kind in counts) == int(row["held_out"])
        assert float(row["federated_gain_low"]) <= gain <= float(row["federated_gain_high"])
    assert sum(int(row["examples"]) + int(row["held_out"]) for row in rows) == IMAGES


def test_the_ledger_adds_up(run: Path) -> None:
    rows, summary = _table(run / "egress.csv"), _summary(run)
    assert list(rows[0]) == ["round", "client", "direction", "record", "shape", "bytes"]
    for direction in ("up", "down"):
        mine = [row for row in rows if row["direction"] == direction]
        assert sum(int(row["bytes"]) for row in mine) == summary[f"bytes_{direction}"]
        for metrics in _metrics(run):
            of_round = [row for row in mine if int(row["round"]) == metrics["round"]]
            assert sum(int(row["bytes"]) for row in of_round) == metrics[f"bytes_{direction}"]
            assert len({row["client"] for row in of_round}) == metrics["clients"]
    assert {int(row["round"]) for row in rows} == set(range(ROUNDS + 2))
    assert {row["direction"] for row in rows} == {"up", "down"}
    leaving = {row["record"] for row in rows if row["direction"] == "up"}
    assert leaving == {"identity", "census", "moments", "arrays", "metrics"}


def test_the_partition_covers_every_training_row_once(run: Path) -> None:
    split = json.loads((run / "partition.json").read_text())
    rows = [row for client in split["clients"] for row in client["train"] + client["held-out"]]
    assert sorted(rows) == list(range(IMAGES))
    assert sorted(split["test"]) == list(range(IMAGES, IMAGES + TEST_IMAGES))
    clients = _table(run / "clients.csv")
    for client, row in zip(split["clients"], clients, strict=True):
        assert client["name"] == row["name"]
        assert len(client["train"]) == int(row["examples"])
        assert len(client["held-out"]) == int(row["held_out"])


def test_the_head_is_the_one_that_the_summary_names(run: Path) -> None:
    digest = hashlib.sha256()
    tensors = load_file(run / "head.safetensors")
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode() + value.tobytes("C"))
    assert digest.hexdigest() == _summary(run)["head_sha256"]
    assert tensors["weight"].shape[0] == tensors["bias"].shape[0] == 8
    assert digest.hexdigest() in (run / "report.html").read_text(encoding="utf-8")


def test_the_configuration_says_all_and_reproduces_the_run(
    run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tomllib.loads((run / "config.toml").read_text())
    assert written.keys() == RunConfig().settled().to_mapping().keys()
    monkeypatch.chdir(tmp_path)
    again = tmp_path / "again"
    end = finished(
        simulate.main, "--config", run / "config.toml", "--out", again, "--json", "--no-cache"
    )
    assert (end.exit_code, end.stderr) == (0, "")
    assert json.loads(end.stdout) == {"run_folder": str(again), **_summary(again)}
    for name in ("head.safetensors", "egress.csv", "clients.csv", "partition.json"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name
    assert _summary(again)["head_sha256"] == _summary(run)["head_sha256"]


def test_what_is_printed_has_no_control_characters_and_fits_80_columns(
    ended: tuple[Path, Finished],
) -> None:
    run, end = ended
    assert not CONTROL.search(end.stdout + end.stderr)
    *table, report = end.stdout.splitlines()
    assert max(map(len, table)) <= 80
    assert report == f"report: {run / 'report.html'}"
    for site in range(1, SITES + 1):
        assert hospital_names(SITES)[site - 1] in end.stdout
    assert f"round {ROUNDS}/{ROUNDS}" in end.stderr


@pytest.mark.usefixtures("shared_ray")
def test_a_quiet_run_with_ray_prints_its_folder_and_learns_the_same(
    run: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [*SCENARIO, "--engine", "ray", "--cache", cache, "--out", tmp_path / "run", "--quiet"]
    end = finished(simulate.main, *flags)
    assert (end.exit_code, end.stdout, end.stderr) == (0, f"{tmp_path / 'run'}\n", "")
    assert capfd.readouterr() == ("", ""), "of Ray and its processes"
    for name in ("head.safetensors", "egress.csv", "clients.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), name


# --- images that cannot be read -------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sites of class/file, in which two of 24 images cannot be decoded."""
    root = tmp_path_factory.mktemp("pictures") / "sites"
    rng = np.random.default_rng(0)
    for site in ("east", "west"):
        for tint, label in ((60, "dark"), (190, "light")):
            (root / site / label).mkdir(parents=True)
            for index in range(6):
                pixels = rng.integers(tint - 50, tint + 50, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / site / label / f"{index}.png")
    (root / "east" / "light" / "3.png").write_bytes(b"no picture")
    whole = root / "west" / "dark" / "5.png"
    whole.write_bytes(whole.read_bytes()[:200])
    return root


@pytest.mark.parametrize("quiet", [True, False])
def test_unreadable_images_are_listed_and_named_in_one_warning(
    quiet: bool, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    flags = ["--data", pictures, "--partition", "natural", "--engine", "inline", "--rounds", 1]
    flags += ["--test-fraction", 0]
    quietly = ["--quiet"] if quiet else []
    end = finished(simulate.main, *flags, *quietly, "--no-cache", "--out", out)
    assert end.exit_code == 0, end.stderr
    listed = _table(out / "unreadable.csv")
    assert [row["image"] for row in listed] == ["east/light/3.png", "west/dark/5.png"]
    assert all(row["reason"] for row in listed)
    [warning] = [line for line in end.stderr.splitlines() if line.startswith("warning: ")]
    assert "2 images could not be decoded" in warning
    assert "east/light/3.png" in warning
    assert str(out / "unreadable.csv") in warning
    if quiet:
        assert end.stderr == f"{warning}\n"
    split = json.loads((out / "partition.json").read_text())
    assert [len(client["train"] + client["held-out"]) for client in split["clients"]] == [11, 11]
    assert "east/light/3.png" in (out / "report.html").read_text(encoding="utf-8")
