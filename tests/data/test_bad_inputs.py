"""What a user can do wrong: each mistake is one sentence, an exit code, and leaves nothing behind.

What the parts say in detail is tested beside them; here it is the whole command that must not show
a traceback, start a run, or leave a folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import complaint
from PIL import Image
from torchvision import models

from fedtl import compare, simulate

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
    "no npz": (("--data", "features:{inputs}/text.npz"), USAGE, ["text.npz is damaged or not a"]),
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
    "negative rounds": (("--rounds", "-1"), USAGE, ["rounds = -1 is too small"]),
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
        ["leaves training data only at Birch", "at least 2"],
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
    # Which files could not be decoded, and why, is worth more than a clean folder.
    kept = ["unreadable.csv"] if "can be decoded" in sentence else []
    assert [path.name for path in tmp_path.rglob("*.*")] == kept
    assert kept or list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [simulate, compare])
def test_an_impossible_partition_is_refused_before_features_are_computed(
    command: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr("fedtl.runs.simulated_clients.prepare_inputs", computed)
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


# --- as a user sees it ----------------------------------------------------------------------------


def test_a_mistake_found_while_ray_starts_is_still_one_line(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    data = f"features:{inputs / 'nan.npz'}"
    command = [sys.executable, "-m", "fedtl.simulate", "--data", data, "--partition", "natural"]
    end = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (end.returncode, end.stdout) == (USAGE, "")
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
    assert "row 17 of x" in end.stderr
    assert not out.exists()
