"""A disk that is full at any of the last writes: whole old files, a sentence, and a way on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process import finished

from fedtl import predict, simulate

pytestmark = pytest.mark.usefixtures("undrawn")

LAST = ("head.safetensors", "clients.csv", "summary.json", "report.html", "run.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("full")
    y = np.arange(60) % 3
    x = (np.random.default_rng(0).normal(size=(60, 4)) + np.eye(3, 4)[y]).astype(np.float32)
    np.savez(folder / "features.npz", x=x, y=y, site=np.arange(60) // 20)
    flags = ["--data", f"features:{folder / 'features.npz'}", "--partition", "natural"]
    flags += ["--engine", "inline", "--rounds", 2, "--test-fraction", 0, "--quiet"]
    assert finished(simulate.main, *flags, "--out", folder / "run").exit_code == 0
    return folder / "run"


def _full_at(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let the disk be full as a file is written."""
    flush = os.fsync

    def full(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name == f".{name}.tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    patch.setattr(os, "fsync", full)


def _files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.mark.parametrize("first", [True, False], ids=["the first time", "once more"])
@pytest.mark.parametrize("name", LAST)
def test_a_disk_that_is_full_at_the_end(name: str, first: bool, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    if first:
        # As the closing finds a run that has trained: without what it writes.
        for last in LAST[:-1]:
            (copy / last).unlink()
    before = _files(copy)
    data = f"features:{run.parent / 'features.npz'}"
    with pytest.MonkeyPatch.context() as patch:
        _full_at(name, patch)
        end = finished(simulate.main, "--resume", copy, "--quiet", "--data", data)
    assert end.exit_code == 1
    [sentence] = end.stderr.splitlines()
    assert sentence.startswith(f"error: {copy / name} cannot be written: No space left on device; ")
    assert sentence.endswith(f"then go on with --resume {copy}.")
    after = _files(copy)
    assert after.get(name) == before.get(name), "the old file, whole, or none"
    assert not list(copy.rglob("*.tmp"))

    end = finished(simulate.main, "--resume", copy, "--quiet", "--data", data)
    assert (end.exit_code, end.stderr) == (0, "")
    told, whole = _files(copy), _files(run)
    assert told.keys() == whole.keys()
    for same in ("head.safetensors", "clients.csv", "egress.csv", "run.json"):
        assert told[same] == whole[same], same


def test_predictions_are_whole_or_absent(run: Path, tmp_path: Path) -> None:
    written = tmp_path / "values.csv"
    written.write_text("old\n")
    data = f"features:{run.parent / 'features.npz'}"
    with pytest.MonkeyPatch.context() as patch:
        _full_at("values.csv", patch)
        end = finished(predict.main, run, data, "--csv", written)
    assert end.exit_code == 1
    assert f"{written} cannot be written: No space left on device" in end.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["values.csv"]
    assert written.read_text() == "old\n"
