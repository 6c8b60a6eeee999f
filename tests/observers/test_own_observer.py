"""A user's own observer is one file, with options; several may watch a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from in_process import complaint, finished
from installed import installed

import fedtl
from fedtl import simulate
from fedtl.kinds import names_code

COUNTER = '''
from pathlib import Path

from fedtl.observers.observer import Observer
from fedtl.options import Integer, Options


class Counter(Observer):
    """Writes down every n-th round."""

    options = Options("counter", every=Integer(1, "Which rounds.", low=1, high=100))

    def round(self, finished, rounds):
        if finished.round % self.options.every == 0:
            with Path("counted.txt").open("a") as file:
                file.write(f"{type(self).__name__} {finished.round}\\n")


class Other(Counter):
    """The same by another name."""
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an observer and data, where a command is given as ``python -m`` has it."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    monkeypatch.setattr(fedtl, "launch_folder", str(tmp_path))
    draws = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez("x.npz", x=np.eye(3, 5)[y] + draws.normal(size=(60, 5)), y=y)
    Path("counter.py").write_text(COUNTER)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("counter", None)


QUICK = ("--data", "features:x.npz", "--clients", 3, "--rounds", 5, "--engine", "inline")


def test_an_observer_is_one_file(folder: Path) -> None:
    flags = ("--track", "counter:Counter, counter:Other", "--counter-every", 2, "--out", "run")
    end = finished(simulate.main, *QUICK, *flags, "--json")
    assert end.exit_code == 0, end.stderr
    assert json.loads(end.stdout)["rounds"] == 5
    told = Path("counted.txt").read_text().splitlines()
    assert sorted(told) == ["Counter 2", "Counter 4", "Other 2", "Other 4"]
    assert "counter-every = 2" in Path("run/config.toml").read_text()
    assert "--counter-every" in finished(simulate.main, "--help", "counter:Counter").stdout
    assert finished(simulate.main, "--help", "tensorboard").stdout.startswith("--track tensorboard")


def test_what_is_no_observer(folder: Path) -> None:
    said = complaint(simulate.main, *QUICK, "--track", "mlflw")
    assert "track = 'mlflw' is not known; did you mean 'mlflow'?" in said
    said = complaint(simulate.main, *QUICK, "--track", "counter:Path")
    assert "is not a subclass of fedtl.observers.observer.Observer" in said
    said = complaint(simulate.main, *QUICK, "--counter-every", 2)
    assert "Unknown flag '--counter-every'" in said


def test_a_folders_own_observer_does_not_run_unless_trusted(folder: Path) -> None:
    flags = (*QUICK, "--track", "counter:Counter", "--out", "run")
    assert finished(simulate.main, *flags, "--quiet").exit_code == 0
    del sys.modules["counter"]
    said = complaint(simulate.main, "--resume", "run", "--quiet")
    assert "somebody may have sent" in said and "--track counter:Counter" in said
    assert "counter" not in sys.modules
    assert names_code({"track": "mlflow, a:B"}) == ["track"]
    assert names_code({"track": "mlflow, tensorboard"}) == []


def test_a_distribution_brings_observers(folder: Path) -> None:
    points = "[fedtl.observers]\ntally = tally:Counter\n"
    with installed(folder / "site", "tally", COUNTER, points):
        flags = ("--track", "tally", "--counter-every", 3, "--out", "run")
        end = finished(simulate.main, *QUICK, *flags)
        assert end.exit_code == 0, end.stderr
        assert Path("counted.txt").read_text().split("\n")[:-1] == ["Counter 3"]
        assert "tally" in complaint(simulate.main, *QUICK, "--track", "tall")
