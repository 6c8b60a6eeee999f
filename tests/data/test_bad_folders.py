"""Folders of runs that cannot be written, resumed or shared: one sentence, and nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from in_process import complaint, finished
from own_process import run_module

from fedtl import simulate
from fedtl.federation.checkpoint import checkpoint_paths, read_checkpoint

USAGE, ENVIRONMENT = 2, 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three classes at three sites."""
    path = tmp_path_factory.mktemp("data") / "sites.npz"
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.savez(path, x=x, y=np.arange(30) % 3, site=np.arange(30) // 10)
    return path


def _flags(data: Path) -> list[str]:
    """Return the flags of a run that takes a second."""
    common = ["--quiet", "--engine", "inline", "--rounds", "2", "--partition", "natural"]
    return [*common, "--data", f"features:{data}"]


@pytest.fixture(scope="module")
def a_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert finished(simulate.main, *_flags(data), "--out", out).exit_code == 0
    return out


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- output folders -------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["{data}/run", "/proc/fedtl/run"])
def test_an_output_folder_that_cannot_be_written(out: str, data: Path) -> None:
    folder = out.format(data=data)
    sentence = complaint(simulate.main, *_flags(data), "--out", folder, exit_code=ENVIRONMENT)
    assert sentence.startswith(f"{folder} cannot be written: ")
    assert "choose another --out" in sentence


def test_an_output_folder_that_holds_a_run_is_left_as_it_is(a_run: Path, data: Path) -> None:
    before = _files(a_run)
    sentence = complaint(simulate.main, *_flags(data), "--out", a_run)
    assert f"{a_run} already holds a run; go on with --resume {a_run}" in sentence
    assert _files(a_run) == before


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["absent", "empty", "file"])
def test_resuming_what_is_no_run(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    sentence = complaint(simulate.main, "--quiet", "--resume", tmp_path / folder)
    assert f"{tmp_path / folder} holds no run to resume" in sentence
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


@pytest.mark.parametrize("flag", ["--fraction=0.5", "--config=x.toml", "--out=elsewhere"])
def test_resuming_takes_no_other_configuration(flag: str, a_run: Path) -> None:
    before = _files(a_run)
    sentence = complaint(simulate.main, "--resume", a_run, flag)
    assert f"{flag.split('=')[0]} cannot be given" in sentence
    assert _files(a_run) == before


def test_a_run_has_one_process_at_a_time(a_run: Path) -> None:
    before = _files(a_run)
    with (a_run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sentence = complaint(simulate.main, "--quiet", "--resume", a_run)
        assert f"Another process uses {a_run}" in sentence
    assert _files(a_run) == before


def _data_elsewhere(run: Path) -> list[str]:
    """Return the flag that names other data than the run had."""
    np.savez(run / "other.npz", x=np.ones((8, 4)), y=np.arange(8) % 2, site=np.arange(8) % 2)
    return ["--data", f"features:{run / 'other.npz'}"]


def _no_data(run: Path) -> list[str]:
    # Cut off before its clients were known, a run has little; what it has must stay.
    (run / "partition.json").unlink()
    shutil.rmtree(run / "checkpoint")
    return ["--data", f"features:{run / 'absent.npz'}"]


@pytest.mark.parametrize(
    ("elsewhere", "exit_code", "said"),
    [
        (_data_elsewhere, ENVIRONMENT, "The data is not what it was"),
        (_no_data, USAGE, "absent.npz does not exist"),
    ],
)
def test_resuming_with_other_data_says_what_is_wrong_and_removes_nothing(
    elsewhere: Callable[[Path], list[str]], exit_code: int, said: str, a_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(a_run, run)
    flags = elsewhere(run)
    before = _files(run)
    sentence = complaint(simulate.main, "--quiet", "--resume", run, *flags, exit_code=exit_code)
    assert said in sentence
    assert _files(run).keys() == before.keys()
    assert _files(run)["config.toml"] == before["config.toml"]


def test_data_that_was_moved_is_given_anew(a_run: Path, data: Path, tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved.npz"
    shutil.copytree(a_run, run)
    shutil.copy(data, moved)
    end = finished(simulate.main, "--resume", run, "--quiet", "--data", f"features:{moved}")
    assert end.exit_code == 0
    assert "in that folder says so" not in end.stderr
    for name in ("head.safetensors", "config.toml"):
        assert (run / name).read_bytes() == (a_run / name).read_bytes()


# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system to fill cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_fills_while_a_checkpoint_is_written(
    small_disk: Path, data: Path, tmp_path: Path
) -> None:
    # A head of 94 KiB: two checkpoints fit on the disk, a third beside them does not.
    head = ["--head", "mlp", "--hidden-units", "3000", "--rounds", "4", "--test-fraction", "0"]
    out = small_disk / "run"
    sentence = complaint(simulate.main, *_flags(data), *head, "--out", out, exit_code=ENVIRONMENT)
    third = out / "checkpoint" / "round-0000003.safetensors"
    assert sentence.startswith(f"{third} cannot be written: No space left on device; ")
    assert "--resume" in sentence
    assert sorted(path.name for path in third.parent.iterdir()) == [
        "round-0000001.safetensors",
        "round-0000002.safetensors",
    ]
    checkpoint, _ = read_checkpoint(checkpoint_paths(third.parent)[0])
    assert checkpoint.server_round == 2

    again = complaint(simulate.main, "--quiet", "--resume", out, exit_code=ENVIRONMENT)
    assert "No space left on device" in again, "it is still full"
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    end = finished(simulate.main, "--quiet", "--resume", out, "--data", f"features:{data}")
    assert (end.exit_code, end.stderr) == (0, "")

    whole = tmp_path / "whole"
    assert finished(simulate.main, *_flags(data), *head, "--out", whole).exit_code == 0
    resumed, uninterrupted = (
        json.loads((run / "summary.json").read_text()) for run in (out, whole)
    )
    assert resumed["head_sha256"] == uninterrupted["head_sha256"]
    assert (out / "egress.csv").read_bytes() == (whole / "egress.csv").read_bytes()


# --- as a user sees it ----------------------------------------------------------------------------


def test_a_second_process_is_refused(a_run: Path) -> None:
    with (a_run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = run_module("fedtl.simulate", "--resume", a_run)
    assert (end.returncode, end.stdout) == (USAGE, "")
    assert end.stderr == (
        f"error: Another process uses {a_run}; wait for it, or choose another --out.\n"
    )
