"""Observers hear of a run, may stop it early, cost it nothing, and are one file of a user's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import complaint, finished
from small_federation import small_sites

from fedtl import compare, simulate
from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.federation.round_row import Round
from fedtl.observers.early_stopping import EarlyStopping
from fedtl.observers.observer import Began, Observer
from fedtl.observers.run_folder import RunFolder
from fedtl.observers.together import Observers
from fedtl.runs.clients import ClientsHere
from fedtl.runs.run import Run
from strategies import build
from strategies.fedavg import FedAvg

MINE = '''
from pathlib import Path

from fedtl import Observer


class Loud(Observer):
    """Writes what it hears to a file."""

    def __init__(self, config):
        super().__init__(config)
        self.heard = []

    def began(self, run):
        self.heard.append(f"began {run.config.strategy} with {run.config.clients} in {run.folder}")

    def round(self, finished, rounds):
        self.heard.append(f"round {finished.round} of {rounds}: {finished.clients} clients")
        return "Loud has heard enough." if finished.round == 2 else None

    def ended(self, result):
        self.heard.append(f"ended {result.figures['rounds']} {len(result.clients)}")
        Path("heard.txt").write_text("\\n".join(self.heard))
'''


def _round(number: int, accuracy: float | None) -> Round:
    return Round(number, 3, None, 0.1 * number, (), 0, 0, 0.1, accuracy=accuracy)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an observer of the user's own, and data."""
    draws = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (np.eye(3)[y] * 2 + draws.normal(size=(120, 3))).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=y, site=np.arange(120) % 4)
    (tmp_path / "loudly.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loudly", raising=False)
    return tmp_path


FLAGS = ("--data", "features:x.npz", "--partition", "natural", "--engine", "inline", "--quiet")


@pytest.mark.parametrize(
    ("accuracies", "patience", "stops"),
    [
        ([0.5, 0.6, 0.6, 0.6], 2, 4),
        ([0.5, 0.6, 0.55, 0.61, 0.6, 0.6], 2, 6),
        ([0.6, 0.5, 0.4], 1, 2),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, None),
        # A round that nobody scored tells nothing.
        ([0.5, None, None, 0.5], 2, 4),
    ],
)
def test_early_stopping_counts_rounds_without_a_better_accuracy(
    accuracies: list[float | None], patience: int, stops: int | None
) -> None:
    stopping = EarlyStopping(patience)
    said = [stopping.round(_round(at, one), 50) for at, one in enumerate(accuracies, 1)]
    assert [at for at, reason in enumerate(said, 1) if reason] == ([stops] if stops else [])


def test_a_resumed_run_stops_where_it_would_have() -> None:
    rounds = [_round(at, one) for at, one in enumerate([0.5, 0.6, 0.6, 0.6], 1)]
    began = Began(RunConfig(rounds=50), None, tuple(rounds))
    assert EarlyStopping(2).began(began)
    later = EarlyStopping(2)
    assert not later.began(Began(RunConfig(rounds=50), None, tuple(rounds[:3])))
    assert later.round(rounds[3], 50)


def test_patience_ends_training_one_round_after_the_score_that_decides(folder: Path) -> None:
    end = finished(simulate.main, *FLAGS, "--rounds", "40", "--patience", "2", "--out", "run")
    assert end.exit_code == 0, end.stderr
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    told = [row["accuracy"] for row in rows]
    best = [max(told[: at + 1]) for at in range(len(told))]
    # The first round after which two rounds have brought nothing, and the one that ran meanwhile.
    decides = next(at for at in range(2, 40) if best[at] == best[at - 2])
    assert len(rows) == decides + 2 < 40
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["rounds"] == len(rows)
    assert "Training stops early, after round" in end.stderr
    assert "Training stops early" in Path("run/report.html").read_text()
    # The head is that of a run of so many rounds: nothing else has changed.
    flags = ("--rounds", str(len(rows)), "--out", "plain")
    assert finished(simulate.main, *FLAGS, *flags).exit_code == 0
    plain = json.loads(Path("plain/summary.json").read_text())
    assert plain["head_sha256"] == summary["head_sha256"]
    # A comparison has the same head for the same keys.
    flags = ("--strategies", "fedavg", "--seeds", "1", "--rounds", "40", "--patience", "2")
    assert finished(compare.main, *flags, *FLAGS, "--out", "many").exit_code == 0
    assert summary["head_sha256"] in Path("many/comparison.csv").read_text()


def test_patience_without_effect_is_told(folder: Path) -> None:
    for flags in (("--strategy", "fed3r"), ("--held-out", "0", "--rounds", "2")):
        end = finished(simulate.main, *FLAGS, *flags, "--patience", "2")
        assert "patience = 2" in end.stderr and "no effect" in end.stderr, end.stderr


def test_a_resumed_run_of_patience_has_the_bytes_of_one_that_was_not_cut_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*FLAGS, "--rounds", "40", "--patience", "2")
    assert finished(simulate.main, *flags, "--out", "whole").exit_code == 0
    keep, last = RunFolder.checkpoint, json.loads(Path("whole/summary.json").read_text())["rounds"]
    for cut in (1, last - 1, last):

        def dies(run: RunFolder, checkpoint: Any, cut: int = cut) -> None:
            keep(run, checkpoint)
            if checkpoint.server_round == cut:
                raise FedtlError("The power went.")

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "checkpoint", dies)
            finished(simulate.main, *flags, "--out", f"cut-{cut}")
        end = finished(simulate.main, "--resume", f"cut-{cut}", "--quiet")
        assert end.exit_code == 0, end.stderr
        for name in ("head.safetensors", "clients.csv", "egress.csv"):
            assert Path(f"cut-{cut}", name).read_bytes() == Path("whole", name).read_bytes()


def test_an_observer_is_one_file_of_a_user(folder: Path) -> None:
    end = finished(simulate.main, *FLAGS, "--rounds", "9", "--track", "loudly:Loud", "--out", "run")
    assert end.exit_code == 0, end.stderr
    assert Path("heard.txt").read_text().splitlines() == [
        "began fedavg with 4 in run",
        "round 1 of 9: 4 clients",
        "round 2 of 9: 4 clients",
        # It runs as the second is scored, and is the last.
        "round 3 of 3: 4 clients",
        "ended 3 4",
    ]
    assert "warning: Loud has heard enough." in end.stderr


def test_an_observer_that_fails_costs_the_run_nothing(folder: Path) -> None:
    broken = MINE.replace('self.heard.append(f"round', '1 / 0; self.heard.append(f"round')
    (folder / "loudly.py").write_text(broken)
    end = finished(simulate.main, *FLAGS, "--rounds", "3", "--track", "loudly:Loud", "--out", "run")
    assert end.exit_code == 0, end.stderr
    [told] = [line for line in end.stderr.splitlines() if "Loud" in line]
    assert "Loud no longer watches the run: ZeroDivisionError" in told
    assert "loudly.py, line" in told
    assert "ZeroDivisionError" in Path("run/errors.log").read_text()
    assert not Path("heard.txt").exists()
    assert json.loads(Path("run/summary.json").read_text())["rounds"] == 3


@pytest.mark.parametrize(
    ("track", "said"),
    [
        ("tensorbord", "track = 'tensorbord' is not known; did you mean 'tensorboard'?"),
        ("loudly:Nobody", "track = 'loudly:Nobody' cannot be loaded"),
        (
            "loudly:Path",
            "track = 'loudly:Path' is not a subclass of fedtl.observers.observer.Observer.",
        ),
    ],
)
def test_what_is_no_observer_is_refused(folder: Path, track: str, said: str) -> None:
    assert said in complaint(simulate.main, *FLAGS, "--track", track)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_an_absent_tracker_is_refused_with_the_line_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    said = complaint(simulate.main, *FLAGS, "--track", name)
    assert f"pip install 'fedtl[{name}]'" in said


def test_tensorboard_has_the_curves_of_the_run(folder: Path) -> None:
    flags = ("--rounds", "4", "--track", "tensorboard", "--out", "run")
    assert finished(simulate.main, *FLAGS, *flags).exit_code == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator("run/tensorboard")
    events.Reload()
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    points = events.Scalars("accuracy")
    assert [point.step for point in points] == [1, 2, 3, 4]
    np.testing.assert_allclose([p.value for p in points], [row["accuracy"] for row in rows], 1e-6)


def test_mlflow_has_keys_and_curves_of_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'store.db'}")
    flags = ("--rounds", "3", "--track", "mlflow", "--out", "run", "--learning-rate", "0.05")
    assert finished(simulate.main, *FLAGS, *flags).exit_code == 0
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("fedtl")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["learning-rate"] == "0.05"
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    history = client.get_metric_history(run.info.run_id, "accuracy")
    assert [one.step for one in history] == [1, 2, 3]
    np.testing.assert_allclose([one.value for one in history], [row["accuracy"] for row in rows])
    summary = json.loads(Path("run/summary.json").read_text())
    assert run.data.metrics["own_data.federated.accuracy"] == summary["federated"]["accuracy"]


def test_a_run_without_a_folder_has_observers_too() -> None:
    draws = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (np.eye(3)[y] + draws.normal(size=(60, 3))).astype(np.float32)
    config = RunConfig(rounds=5, clients=3)

    class Stops(Observer):
        def began(self, run: Began) -> str:
            assert run.folder is None
            return "One round is enough."

    with small_sites(x, y, np.array_split(np.arange(60), 3)) as sites:
        run = Run(ClientsHere(config, sites), [Stops(config)])
        result = run.result()
    # Stopped before it began, so that the head is the one that training starts from.
    assert result.figures["rounds"] == 0
    assert result.warnings == ("One round is enough.",)
    assert result.trained is not None
    start = build(config, result._classifier().form(3)).head.initial("auto", 0)
    assert isinstance(build(config, result._classifier().form(3)), FedAvg)
    for name, value in start.items():
        np.testing.assert_array_equal(result.trained.arrays[name], value)


def test_an_observer_that_is_vital_ends_the_run() -> None:
    class Vital(Observer):
        vital = True

        def phase(self, text: str) -> None:
            raise FedtlError("The disk is full.")

    with pytest.raises(FedtlError, match="The disk is full"):
        Observers([Vital(RunConfig())]).phase("anything")
