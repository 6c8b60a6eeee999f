"""Every file of a run, damaged in every way: a sentence or the same result, never another one."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import finished

from fedtl import predict, simulate
from fedtl.errors import FedtlError
from fedtl.observers.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")

NEWEST, OLDER = (f"checkpoint/round-000000{number}.safetensors" for number in (3, 2))
# What a run goes on from, and what is used of a finished one.
RESUMED = ("config.toml", "run.json", "partition.json", "contents.npz", "metrics.jsonl")
RESUMED += ("egress.csv", "pseudonyms.csv", NEWEST, OLDER)
PREDICTED = ("config.toml", "run.json", "head.safetensors", "summary.json")


def _half(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path, other: Path) -> None:
    _flip_at(path, path.stat().st_size // 2, 0)


def _flip_at(path: Path, byte: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path, Path], Any]] = {
    "half": _half,
    "a flipped bit": _flip,
    "deleted": lambda path, other: path.unlink(),
    "empty": lambda path, other: path.write_bytes(b""),
    "another run's": lambda path, other: shutil.copy(other, path),
    "text": lambda path, other: path.write_text("Nothing of the kind.\n"),
    "binary": lambda path, other: path.write_bytes(bytes(range(256)) * 20),
    "deep": lambda path, other: path.write_text("[" * 100_000),
}
# A run without its last checkpoint is one that was cut off before; the older one is not needed.
SOUND = {(NEWEST, "deleted"), *((OLDER, damage) for damage in DAMAGE)}
# What follows a checkpoint in them is written again: its own part alone counts.
CUT_BACK = ("egress.csv", "metrics.jsonl")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Data, a finished run on it, and another run that differs in its seed."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    data = folder / "features.npz"
    x = (rng.normal(size=(60, 4)) + np.eye(3, 4)[y]).astype(np.float32)
    np.savez(data, x=x, y=y, site=np.arange(60) // 20)
    flags = ["--data", f"features:{data}", "--partition", "natural", "--engine", "inline"]
    flags += ["--rounds", 3, "--test-fraction", 0, "--pseudonyms", "--quiet"]
    for seed, name in ((1, "run"), (2, "other")):
        end = finished(simulate.main, *flags, "--seed", seed, "--out", folder / name)
        assert (end.exit_code, end.stderr) == (0, "")
    return data, folder / "run", folder / "other"


@pytest.fixture
def copy(runs: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(runs[1], tmp_path / "run")
    return tmp_path / "run"


def _concluded(run: Path) -> dict[str, Any]:
    """Return what a run came to, but for times."""
    summary = json.loads((run / "summary.json").read_text())
    del summary["seconds"], summary["peak_rss_mb"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = ("head.safetensors", "egress.csv", "partition.json", "clients.csv")
    return {
        "summary": summary,
        "metrics": [{**line, "seconds": None} for line in lines],
        **{name: (run / name).read_bytes() for name in names},
    }


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", RESUMED)
def test_taking_up(name: str, damage: str, copy: Path, runs: tuple[Path, Path, Path]) -> None:
    _, run, other = runs
    whole = _taken_up(copy)
    older = copy.with_name("older")
    shutil.copytree(run, older)
    (older / NEWEST).unlink()
    one_round_less = _taken_up(older)
    DAMAGE[damage](copy / name, other / name)
    same = damage != "deleted" and (run / name).read_bytes() == (copy / name).read_bytes()
    try:
        warnings, state = _taken_up(copy)
    except FedtlError as error:
        assert str(copy) in str(error)
        assert (name, damage) not in SOUND
    else:
        if warnings:
            assert state == one_round_less[1]
            assert "from an older checkpoint" in warnings[0]
            assert str(copy) in warnings[0]
        else:
            assert state in (whole[1], one_round_less[1])
            assert (name, damage) in SOUND or name in CUT_BACK or same


@pytest.mark.parametrize(
    ("name", "damage"), [(NEWEST, "half"), ("egress.csv", "text"), ("partition.json", "deleted")]
)
def test_resuming_gives_the_same_or_a_sentence(
    name: str, damage: str, copy: Path, runs: tuple[Path, Path, Path]
) -> None:
    data, run, other = runs
    DAMAGE[damage](copy / name, other / name)
    end = finished(simulate.main, "--resume", copy, "--quiet", "--data", f"features:{data}")
    [told] = end.stderr.splitlines()
    if name == NEWEST:
        assert end.exit_code == 0
        assert told.startswith(f"warning: The checkpoint {copy / NEWEST} ")
        assert _concluded(copy) == _concluded(run)
    else:
        assert end.exit_code == 1
        assert told.startswith(f"error: {copy / name} ")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", PREDICTED)
def test_predicting(name: str, damage: str, copy: Path, runs: tuple[Path, Path, Path]) -> None:
    data, run, other = runs
    DAMAGE[damage](copy / name, other / name)
    end = finished(predict.main, copy, f"features:{data}", "--json")
    told = end.stderr.splitlines()
    if end.exit_code:
        assert [line[:7] for line in told] == ["error: "], end.stderr
        assert (name, damage) != ("run.json", "deleted")
    else:
        # Without run.json the summary names the head still; not all of a summary is of the head.
        assert (name, damage) in {("run.json", "deleted"), ("summary.json", "a flipped bit")}
        assert [line[:9] for line in told] == ["warning: "] * (name == "run.json"), end.stderr
        assert end.stdout == finished(predict.main, run, f"features:{data}", "--json").stdout


def test_any_flipped_bit_is_found_or_changes_nothing(
    copy: Path, runs: tuple[Path, Path, Path]
) -> None:
    draw = random.Random(0)
    _, before = _taken_up(copy)
    original = {name: (copy / name).read_bytes() for name in RESUMED}
    found = 0
    for _ in range(150):
        name = draw.choice([name for name in RESUMED if name != OLDER])
        _flip_at(copy / name, draw.randrange(len(original[name])), draw.randrange(8))
        try:
            warnings, state = _taken_up(copy)
        except FedtlError as error:
            assert str(copy) in str(error)
            found += 1
        else:
            assert (copy / name).read_bytes() == original[name] or warnings or state == before, name
            found += bool(warnings)
        for name, content in original.items():
            (copy / name).write_bytes(content)
    assert found > 130, "nearly every bit counts"


def _taken_up(run: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the warnings of taking a run up, and where it goes on."""
    folder, checkpoint = RunFolder.reopen(run)
    folder.close()
    assert checkpoint is not None
    arrays = {name: value.tobytes() for name, value in checkpoint.arrays.items()}
    state = {**vars(checkpoint), "arrays": arrays, "standardisation": None}
    told = folder.remembered
    return told.warnings, {**state, "rounds": told.rounds, "egress": told.egress_totals()}


# --- folders of an older fedtl, and of another runtime ------------------------------------------


def _as_an_older_fedtl_wrote(run: Path) -> None:
    """Take away what vouches for a run's files."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    (run / "run.json").unlink()
    for path in (run / "checkpoint").iterdir():
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        del facts["manifest"]
        told = {"format": "fedtl-checkpoint-2", "facts": json.dumps(facts)}
        save_file(tensors, path, metadata=told)


def test_an_older_folder_is_read_with_a_warning(copy: Path, runs: tuple[Path, Path, Path]) -> None:
    data, run, _ = runs
    _as_an_older_fedtl_wrote(copy)
    flags = ["--resume", copy, "--quiet", "--data", f"features:{data}"]
    end = finished(simulate.main, *flags)
    assert end.exit_code == 0, end.stderr
    [warning] = end.stderr.splitlines()
    assert warning.startswith(f"warning: {copy} was written by an older fedtl: whether its files")
    assert _concluded(copy) == _concluded(run)


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "another run's"])
def test_an_older_folders_damaged_partition_is_told(
    damage: str, copy: Path, runs: tuple[Path, Path, Path]
) -> None:
    _as_an_older_fedtl_wrote(copy)
    before = (copy / "partition.json").read_bytes()
    if damage == "a flipped bit":
        # Within the data's digest: nothing else of a row's number could be found out.
        _flip_at(copy / "partition.json", before.index(b"digest") + 15, 0)
    else:
        DAMAGE[damage](copy / "partition.json", copy)
    end = finished(simulate.main, "--resume", copy, "--quiet")
    assert end.exit_code == 1
    assert end.stderr.splitlines()[-1].startswith("error: ")
    assert "partition.json" in end.stderr.splitlines()[-1]


@pytest.mark.parametrize("rows", ["[0, 99]", "[-1]", "[0.5]", '["0"]', "[true]", "0", "null"])
def test_rows_that_the_data_has_not_are_refused(rows: str, copy: Path) -> None:
    _as_an_older_fedtl_wrote(copy)
    content = json.loads((copy / "partition.json").read_text())
    content["clients"][0]["train"] = json.loads(rows)
    (copy / "partition.json").write_text(json.dumps(content))
    end = finished(simulate.main, "--resume", copy, "--quiet")
    assert end.exit_code == 1
    assert "partition.json is damaged" in end.stderr.splitlines()[-1]


def test_a_run_of_real_sites_is_not_simulated(copy: Path) -> None:
    told = json.loads((copy / "run.json").read_text())
    folder, checkpoint = RunFolder.reopen(copy)
    folder.close()
    config = folder.config.replace(out=str(copy.with_name("sites")))
    sites = RunFolder.create(config, "sites")
    assert checkpoint is not None
    sites.checkpoint(checkpoint)
    sites.close()
    before = {path: path.read_bytes() for path in sites.path.rglob("*") if path.is_file()}
    assert json.loads((sites.path / "run.json").read_text())["run"] != told["run"]
    end = finished(simulate.main, "--resume", sites.path, "--quiet")
    assert end.exit_code == 2
    assert "is a run of real sites" in end.stderr or "holds a run of real sites" in end.stderr
    assert "flwr run" in end.stderr
    assert {p: p.read_bytes() for p in sites.path.rglob("*") if p.is_file()} == before
    with pytest.raises(FedtlError, match="already holds a run; choose another out"):
        RunFolder.create(config, "sites")
