"""Folders of runs and of comparisons: held by one, discarded if nothing has begun in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.plan import Plan
from fedtl.config import RunConfig
from fedtl.errors import FedtlError, UsageError
from fedtl.observers.held_folder import HeldFolder
from fedtl.observers.run_folder import RunFolder

Create = Callable[[Path], HeldFolder]


def _run(path: Path) -> HeldFolder:
    return RunFolder.create(RunConfig(out=str(path)))


def _comparison(path: Path) -> HeldFolder:
    return ComparisonFolder.create(Plan(base=RunConfig(), strategies=("fedavg",)), str(path))


@pytest.fixture(params=[_run, _comparison])
def create(request: pytest.FixtureRequest) -> Create:
    made: Create = request.param
    return made


def test_what_never_began_leaves_nothing_but_what_was_there(create: Create, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for path in (tmp_path / "mine", tmp_path / "deep" / "new"):
        folder = create(path)
        assert path.is_dir()
        folder.discard_if_unbegun()
        folder.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt"]


@pytest.mark.parametrize(("create", "sign"), [(_run, "partition.json"), (_comparison, "cells/x")])
def test_what_began_stays(create: Create, sign: str, tmp_path: Path) -> None:
    folder = create(tmp_path / "out")
    (tmp_path / "out" / sign).parent.mkdir(exist_ok=True)
    folder.write(sign, "{}")
    before = sorted((tmp_path / "out").rglob("*"))
    folder.discard_if_unbegun()
    folder.close()
    assert sorted((tmp_path / "out").rglob("*")) == before
    with pytest.raises(UsageError, match=f"already holds a (run|comparison).*{tmp_path}"):
        create(tmp_path / "out")


def test_a_first_file_that_cannot_be_written_leaves_nothing(
    create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: HeldFolder, name: str, content: str | bytes) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HeldFolder, "write", full)
    with pytest.raises(FedtlError, match="cannot be written: No space left on device"):
        create(tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RunFolder, ComparisonFolder])
def test_only_one_process_at_a_time_is_at_it(
    kind: type[RunFolder] | type[ComparisonFolder], tmp_path: Path
) -> None:
    path = tmp_path / "out"
    folder = _run(path) if kind is RunFolder else _comparison(path)
    with pytest.raises(UsageError, match="Another process uses"):
        kind.reopen(path)
    folder.close()
    again = kind.reopen(path)
    assert isinstance(again, tuple | ComparisonFolder)
    (again[0] if isinstance(again, tuple) else again).close()
    with pytest.raises(UsageError, match=f"holds no {kind.work} to resume"):
        kind.reopen(tmp_path)
