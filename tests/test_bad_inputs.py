"""What a user can do wrong: each mistake is one sentence, an exit code, and leaves nothing behind.

What the parts say in detail is tested beside them; here it is the whole command that must not show
a traceback, start a run, or leave a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import complaint, finished
from PIL import Image
from torchvision import models

from fedtl import compare, simulate
from fedtl.federation.checkpoint import read_latest_checkpoint

USAGE, ENVIRONMENT = 2, 1


def _pictures(folder: Path, **counts: int) -> Path:
    """Make a folder of class/file with so many pictures a class."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of inputs, most of them bad."""
    root = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    np.savez(root / "good.npz", x=x, y=y)
    np.savez(root / "sites.npz", x=x, y=y, site=np.arange(30) // 10)
    x[17, 2] = np.nan
    np.savez(root / "nan.npz", x=x, y=y)
    (root / "text.npz").write_text("x, y")
    (root / "parts.json").write_text("[[0, 1], [1, 2]]")

    _pictures(root / "good", cat=3, dog=3)
    _pictures(root / "one-class", cat=3)
    _pictures(root / "single", cat=3, dog=1)
    (root / "none" / "cat").mkdir(parents=True)
    (root / "none" / "cat" / "notes.txt").write_text("no picture")
    shutil.copytree(root / "good", root / "broken")
    for picture in (root / "broken").glob("*/*.png"):
        picture.write_bytes(b"\x89PNG, or so it says")
    with zipfile.ZipFile(root / "whole.zip", "w") as archive:
        for picture in (root / "good").glob("*/*.png"):
            archive.write(picture, picture.relative_to(root))
    (root / "corrupt.zip").write_bytes((root / "whole.zip").read_bytes()[:-40])

    torch.save(models.squeezenet1_0(weights=None).state_dict(), root / "squeezenet1_0.pth")
    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), root / "shufflenet.pth")
    torch.save([1, 2, 3], root / "list.pth")
    (root / "text.pth").write_text("weights")
    (root / "text.safetensors").write_text("weights")
    return root


SITES = ("--data", "features:{inputs}/sites.npz", "--partition", "natural")
# A partition that is possible: one that is not is refused before weights are looked at.
TWO = ("--partition", "iid", "--clients", "2")
PICTURES = ("--data", "{inputs}/good", "--backbone", "squeezenet1_1", *TWO)

BAD_INPUTS = {
    # --- data
    "missing folder": (("--data", "{inputs}/absent"), USAGE, ["absent: there is no such folder"]),
    "missing file": (("--data", "features:{inputs}/absent.npz"), USAGE, ["absent.npz does not"]),
    "no scheme": (("--data", "feature:{inputs}/good.npz"), USAGE, ["did you mean features:"]),
    "corrupt zip": (("--data", "{inputs}/corrupt.zip"), USAGE, ["corrupt.zip is neither"]),
    "no images": (("--data", "{inputs}/none"), USAGE, ["none holds no images"]),
    "none decodes": (
        ("--data", "{inputs}/broken", *TWO),
        ENVIRONMENT,
        ["broken: none of its 6 images can be decoded"],
    ),
    "one class": (("--data", "{inputs}/one-class"), USAGE, ["two classes", "only cat"]),
    "single image": (("--data", "{inputs}/single"), USAGE, ["class dog has a single image"]),
    "NaN": (("--data", "features:{inputs}/nan.npz"), USAGE, ["nan.npz: row 17 of x", "NaN"]),
    "no npz": (("--data", "features:{inputs}/text.npz"), USAGE, ["text.npz is damaged or no .npz"]),
    # --- weights
    "weights of a sister": (
        (*PICTURES, "--weights", "{inputs}/squeezenet1_0.pth"),
        USAGE,
        ["squeezenet1_0.pth", "features.0.weight", "(96, 3, 7, 7)", "(64, 3, 3, 3)"],
    ),
    "weights of a stranger": (
        (*PICTURES, "--weights", "{inputs}/shufflenet.pth"),
        USAGE,
        ["shufflenet.pth", "has no features.0.weight", "(64, 3, 3, 3)"],
    ),
    "weights of a list": (
        (*PICTURES, "--weights", "{inputs}/list.pth"),
        USAGE,
        ["list.pth holds no state dict"],
    ),
    "text as .pth": (
        (*PICTURES, "--weights", "{inputs}/text.pth"),
        USAGE,
        ["text.pth is not a PyTorch state dict"],
    ),
    "text as .safetensors": (
        (*PICTURES, "--weights", "{inputs}/text.safetensors"),
        USAGE,
        ["text.safetensors is not a safetensors file"],
    ),
    "missing weights": (
        (*PICTURES, "--weights", "{inputs}/absent.pth"),
        USAGE,
        ["absent.pth does not exist"],
    ),
    # --- numbers
    "negative alpha": (("--alpha", "-0.5"), USAGE, ["alpha = -0.5 is too small", "above 0"]),
    "0 clients": (("--clients", "0"), USAGE, ["clients = 0 is too small", "at least 1"]),
    "0 rounds": (("--rounds", "0"), USAGE, ["rounds = 0 is too small"]),
    "fraction": (("--fraction", "1.5"), USAGE, ["fraction = 1.5 is too large", "at most 1"]),
    # --- partitions
    "too many clients": (
        ("--data", "features:{inputs}/good.npz", "--partition", "iid", "--clients", "31"),
        USAGE,
        ["31 clients cannot share 30 training rows"],
    ),
    "Dirichlet": (
        (
            *("--data", "features:{inputs}/good.npz", "--partition", "dirichlet"),
            *("--alpha", "0.01", "--clients", "10", "--min-examples", "3"),
        ),
        USAGE,
        ["alpha 0.01", "10 clients", "at least 3 of 30", "raise --alpha"],
    ),
    "no sites": (
        ("--data", "features:{inputs}/good.npz"),
        USAGE,
        ["natural", "good has no sites"],
    ),
    "no parts": (
        ("--data", "features:{inputs}/good.npz", "--partition", "file:{inputs}/absent.json"),
        USAGE,
        ["absent.json cannot be read", "No such file"],
    ),
    "a row twice": (
        ("--data", "features:{inputs}/good.npz", "--partition", "file:{inputs}/parts.json"),
        USAGE,
        ["list 1", "row 1, which list 0 already has"],
    ),
    # --- a site that takes part in nothing
    "no site to hold out": (
        ("--data", "features:{inputs}/good.npz", "--partition", "iid", "--holdout-site", "a"),
        USAGE,
        ["--holdout-site", "good has no sites"],
    ),
    "unknown site": (
        (*SITES, "--holdout-site", "3"),
        USAGE,
        ["--holdout-site 3", "its sites are 0, 1, 2"],
    ),
    "misspelt site": (
        ("--partition", "natural", "--holdout-site", "Adler"),
        USAGE,
        ["hospitals has no such site; did you mean Alder?"],
    ),
    "one site left": (
        ("--hospitals-sites", "2", "--partition", "natural", "--holdout-site", "Alder"),
        USAGE,
        ["leaves training data at Birch alone", "at least 2"],
    ),
    # --- combinations
    "fed3r with mlp": ((*SITES, "--strategy", "fed3r", "--head", "mlp"), USAGE, ["fed3r", "mlp"]),
    "zero mlp": ((*SITES, "--head", "mlp", "--head-init", "zero"), USAGE, ["head-init = 'seeded'"]),
    "GPUs": (
        (*SITES, "--engine", "ray", "--client-gpus", "4096"),
        USAGE,
        ["client-gpus = 4096 is more than there is", "GPUs in all"],
    ),
    "CPUs": (
        (*SITES, "--engine", "ray", "--client-cpus", "4096"),
        USAGE,
        ["client-cpus = 4096 is more than there is", "CPUs in all"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "exit_code", "said"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_a_bad_input_is_one_sentence_and_nothing_is_left_behind(
    arguments: tuple[str, ...], exit_code: int, said: list[str], inputs: Path, tmp_path: Path
) -> None:
    flags = [argument.format(inputs=inputs) for argument in arguments]
    # Where another comes later on the command line, it counts.
    common = ("--quiet", "--no-cache", "--engine", "inline", "--partition", "natural")
    out = ("--out", tmp_path / "new" / "run")
    sentence = complaint(simulate.main, *common, *out, *flags, exit_code=exit_code)
    assert [words for words in said if words not in sentence] == []
    assert sentence.endswith((".", "?"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [simulate, compare])
def test_an_impossible_partition_is_refused_before_features_are_computed(
    command: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr("fedtl.engine.simulation.prepare_inputs", computed)
    monkeypatch.setattr("fedtl.comparison.runner.prepare_inputs", computed)
    flags = ("--data", inputs / "good", "--partition", "iid", "--clients", 7, "--engine", "inline")
    strategies = ("--strategies", "fed3r") if command is compare else ()
    said = complaint(command.main, "--quiet", *flags, *strategies, "--out", tmp_path / "run")
    assert "7 clients cannot share 6 training rows" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("strategy = 'fedavgg'", ["'fedavgg' is not known", "did you mean 'fedavg'?"]),
        ("backbone = 'squeezenet1_2'", ["squeezenet1_2", "squeezenet1_1"]),
        ("partition = 'dirichelt'", ["'dirichelt' is not known", "did you mean 'dirichlet'?"]),
        ("head = 'liner'", ["'liner' is not known", "did you mean 'linear'?"]),
        ("learning_rate = 0.1", ["'learning_rate'", "did you mean 'learning-rate'?"]),
        ("rounds = '3'", ["rounds = '3'", "is of type str; it must be of type int"]),
        ("[training]\nrounds = 3", ["[training]", "keys are flat"]),
        ("rounds = ", ["scenario.toml is not valid TOML"]),
    ],
)
def test_an_unknown_name_in_a_file_is_told_with_the_nearest_known(
    line: str, said: list[str], inputs: Path, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(f"{line}\n")
    flags = ("--engine", "inline", "--out", tmp_path / "run")
    data = ("--data", inputs / "good", *TWO)
    sentence = complaint(simulate.main, "--quiet", "--config", scenario, *flags, *data)
    assert [words for words in said if words not in sentence] == []
    assert list(tmp_path.iterdir()) == [scenario]


# --- output folders -------------------------------------------------------------------------------


def _flags(inputs: Path) -> list[str]:
    """Return the flags of a run that takes a second."""
    data = [argument.format(inputs=inputs) for argument in SITES]
    return ["--quiet", "--engine", "inline", "--rounds", "2", *data]


@pytest.fixture(scope="module")
def a_run(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert finished(simulate.main, *_flags(inputs), "--out", out).exit_code == 0
    return out


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("out", ["{inputs}/good.npz/run", "/proc/fedtl/run"])
def test_an_output_folder_that_cannot_be_written(out: str, inputs: Path) -> None:
    folder = out.format(inputs=inputs)
    sentence = complaint(simulate.main, *_flags(inputs), "--out", folder, exit_code=ENVIRONMENT)
    assert sentence.startswith(f"{folder} cannot be written: ")
    assert "choose another --out" in sentence


def test_an_output_folder_that_holds_a_run_is_left_as_it_is(a_run: Path, inputs: Path) -> None:
    before = _files(a_run)
    sentence = complaint(simulate.main, *_flags(inputs), "--out", a_run)
    assert f"{a_run} holds a run already; go on with --resume {a_run}" in sentence
    assert _files(a_run) == before


def test_the_users_own_files_and_folders_outlive_a_mistake(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("dear")
    for out in ("empty", "full"):
        missing = ("--data", inputs / "absent", "--engine", "inline", "--partition", "natural")
        complaint(simulate.main, "--quiet", *missing, "--out", tmp_path / out)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "empty",
        "full",
        "full/diary.txt",
    ]


def test_the_default_output_folder_leaves_no_trace_of_a_mistake(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--engine", "inline", "--partition", "natural", "--data", inputs / "one-class")
    complaint(simulate.main, "--quiet", *flags)
    assert list(tmp_path.iterdir()) == []


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["absent", "empty", "file"])
def test_resuming_what_is_no_run(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    sentence = complaint(simulate.main, "--quiet", "--resume", tmp_path / folder)
    assert f"{tmp_path / folder} holds no run to resume" in sentence
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


@pytest.mark.parametrize("flag", ["--alpha=2", "--config=x.toml", "--out=elsewhere"])
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
        assert f"Another process is at work in {a_run}" in sentence
    assert _files(a_run) == before


def _damage_checkpoint(run: Path) -> None:
    newest = max((run / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:50])


def _damage_metrics(run: Path) -> None:
    (run / "metrics.jsonl").write_text("round 1: fine\n")


def _damage_ledger(run: Path) -> None:
    with (run / "egress.csv").open("a") as file:
        file.write("\n1,2\n")


def _damage_configuration(run: Path) -> None:
    (run / "config.toml").write_text("clients = 0\n")


def _replace_data(run: Path) -> None:
    np.savez(run / "other.npz", x=np.ones((8, 4)), y=np.arange(8) % 2, site=np.arange(8) % 2)
    configuration = (run / "config.toml").read_text()
    old = next(line for line in configuration.splitlines() if line.startswith("data = "))
    changed = configuration.replace(old, f'data = "features:{run / "other.npz"}"')
    (run / "config.toml").write_text(changed)


def _remove_data(run: Path) -> None:
    _replace_data(run)
    (run / "other.npz").unlink()
    # Cut off before its clients were known, a run has little; what it has must stay.
    (run / "partition.json").unlink()


@pytest.mark.parametrize(
    ("damage", "exit_code", "said"),
    [
        (_damage_checkpoint, ENVIRONMENT, "round-0000002.safetensors cannot be read"),
        (_damage_metrics, ENVIRONMENT, "metrics.jsonl is damaged"),
        (_damage_ledger, ENVIRONMENT, "egress.csv is damaged"),
        (_damage_configuration, USAGE, "clients = 0 is too small"),
        (_replace_data, ENVIRONMENT, "The data is not what it was"),
        (_remove_data, USAGE, "other.npz does not exist"),
    ],
)
def test_resuming_a_damaged_run_says_what_is_wrong_and_removes_nothing(
    damage: Callable[[Path], None], exit_code: int, said: str, a_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(a_run, run)
    damage(run)
    before = _files(run)
    sentence = complaint(simulate.main, "--quiet", "--resume", run, exit_code=exit_code)
    assert said in sentence
    assert _files(run).keys() == before.keys()
    assert _files(run)["config.toml"] == before["config.toml"]


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
    small_disk: Path, inputs: Path, tmp_path: Path
) -> None:
    # A head of 94 KiB: two checkpoints fit on the disk, a third beside them does not.
    head = ["--head", "mlp", "--hidden-units", "3000", "--rounds", "4", "--test-fraction", "0"]
    out = small_disk / "run"
    sentence = complaint(simulate.main, *_flags(inputs), *head, "--out", out, exit_code=ENVIRONMENT)
    third = out / "checkpoint" / "round-0000003.safetensors"
    assert sentence.startswith(f"{third} cannot be written: No space left on device; ")
    assert "--resume" in sentence
    assert sorted(path.name for path in third.parent.iterdir()) == [
        "round-0000001.safetensors",
        "round-0000002.safetensors",
    ]
    checkpoint = read_latest_checkpoint(third.parent)
    assert checkpoint is not None
    assert checkpoint.server_round == 2

    again = complaint(simulate.main, "--quiet", "--resume", out, exit_code=ENVIRONMENT)
    assert "No space left on device" in again, "it is still full"
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    end = finished(simulate.main, "--quiet", "--resume", out)
    assert (end.exit_code, end.stderr) == (0, "")

    whole = tmp_path / "whole"
    assert finished(simulate.main, *_flags(inputs), *head, "--out", whole).exit_code == 0
    resumed, uninterrupted = (
        json.loads((run / "summary.json").read_text()) for run in (out, whole)
    )
    assert resumed["head_sha256"] == uninterrupted["head_sha256"]
    assert (out / "egress.csv").read_bytes() == (whole / "egress.csv").read_bytes()


# --- as a user sees it ----------------------------------------------------------------------------


def _command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fedtl.simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_mistake_found_while_ray_starts_is_still_one_line(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    data = f"features:{inputs / 'nan.npz'}"
    end = _command("--data", data, "--partition", "natural", "--out", out)
    assert (end.returncode, end.stdout) == (USAGE, "")
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
    assert "row 17 of x" in end.stderr
    assert not out.exists()


def test_a_second_process_is_refused(a_run: Path) -> None:
    with (a_run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = _command("--resume", a_run)
    assert (end.returncode, end.stdout) == (USAGE, "")
    assert end.stderr == (
        f"error: Another process is at work in {a_run}; wait for it, or choose another --out.\n"
    )
