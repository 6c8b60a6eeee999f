"""Folders that somebody sent: their code does not run unasked, and their places are told."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from in_process import complaint, finished

import fedtl
from fedtl import predict, simulate

pytestmark = pytest.mark.usefixtures("undrawn")

MODULE = "a_class_that_somebody_sent"
NAMED = f"{MODULE}:Sent"


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop(MODULE, None)
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y = np.arange(60) % 3
    x = (np.random.default_rng(0).normal(size=(60, 4)) + np.eye(3, 4)[y]).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x, y=y, site=np.arange(60) // 20)
    return path


def _write_class(folder: Path) -> None:
    """Write a strategy that leaves a mark when its code runs."""
    (folder / f"{MODULE}.py").write_text(
        "from pathlib import Path\nfrom strategies.fedavg import FedAvg\n"
        "Path(__file__).with_name('ran').touch()\n\n\nclass Sent(FedAvg):\n    pass\n"
    )


@pytest.fixture
def sent(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of a class that lies in the run's own folder, where the command is given."""
    run = tmp_path / "run"
    run.mkdir()
    _write_class(run)
    flags = ["--data", f"features:{data}", "--partition", "natural", "--engine", "inline"]
    flags += ["--rounds", 2, "--test-fraction", 0, "--quiet", "--strategy", NAMED]
    monkeypatch.chdir(run)
    # As python -m has it once fedtl is imported.
    monkeypatch.setattr(fedtl, "launch_folder", str(run))
    end = finished(simulate.main, *flags, "--out", run)
    assert end.exit_code == 0, end.stderr
    assert (run / "ran").exists(), "one's own class runs from where the command is given"
    (run / "ran").unlink()
    sys.path.remove(str(run))
    del sys.modules[MODULE]
    return run


@pytest.mark.parametrize("on_the_path", [False, True])
@pytest.mark.parametrize("command", ["predict", "resume"])
def test_a_folders_class_does_not_run_unasked(
    command: str, on_the_path: bool, sent: Path, data: Path
) -> None:
    if on_the_path:  # PYTHONPATH=.
        sys.path.insert(0, str(sent))
    if command == "predict":
        said = complaint(predict.main, ".", f"features:{data}")
    else:
        said = complaint(simulate.main, "--resume", ".", "--quiet")
        assert f"--strategy {NAMED}" in said
    assert f"{sent / MODULE}.py is code in {sent}" in said
    assert "--trust" in said
    assert not (sent / "ran").exists()
    assert MODULE not in sys.modules


@pytest.mark.parametrize("given", [["--trust"], ["--strategy", NAMED]])
def test_it_runs_if_the_user_says_so(given: list[str], sent: Path, data: Path) -> None:
    end = finished(simulate.main, "--resume", ".", "--quiet", *given)
    assert end.exit_code == 0, end.stderr
    assert (sent / "ran").exists()


def test_predict_runs_it_if_it_is_trusted(sent: Path, data: Path) -> None:
    end = finished(predict.main, ".", f"features:{data}", "--trust")
    assert end.exit_code == 0, end.stderr
    assert (sent / "ran").exists()


def test_trust_is_of_folders_that_are_taken_up(tmp_path: Path) -> None:
    assert "needs --resume" in complaint(simulate.main, "--trust", "--out", tmp_path / "run")


def test_places_outside_a_folder_are_told_unless_given_anew(sent: Path, data: Path) -> None:
    flags = ["--resume", ".", "--quiet", "--trust"]
    told = finished(simulate.main, *flags).stderr
    assert told.startswith("warning: ")
    assert f"data = 'features:{data}'" in told and "configuration in that folder says so" in told
    assert finished(simulate.main, *flags, "--data", f"features:{data}").stderr == ""
    assert "cannot be given another value" in complaint(simulate.main, *flags, "--rounds", 9)


def test_no_module_of_the_working_directory_is_taken_for_another(
    data: Path, tmp_path: Path
) -> None:
    """Whatever fedtl imports, under ``python -m``, in a folder that has a module of each name."""
    run = tmp_path / "run"
    flags = ["--data", f"features:{data}", "--partition", "natural", "--engine", "inline"]
    flags += ["--rounds", 2, "--test-fraction", 0, "--quiet", "--out", run]
    assert finished(simulate.main, *flags).exit_code == 0
    # What Python itself has imported before it looks for fedtl is not for fedtl to find.
    asked = "import runpy, sys; print(*sys.modules)"
    early = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    known = set(sys.stdlib_module_names) | set(packages_distributions()) | {"strategies"}
    names = {name for name in known if name.isidentifier()} - {"fedtl", *early.stdout.split()}
    for name in names:
        (run / f"{name}.py").write_text(
            f"open('ran-{name}', 'w')\nraise SystemExit('{name} ran')\n"
        )
    told = subprocess.run(
        [sys.executable, "-m", "fedtl.predict", ".", f"features:{data}", "--json"],
        cwd=run,
        env={"PYTHONPATH": str(Path(fedtl.__file__).parents[1]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert sorted(path.name for path in run.glob("ran-*")) == []
    assert (told.returncode, told.stderr) == (0, "")
    shutil.rmtree(run)
