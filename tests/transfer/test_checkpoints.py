"""Files of weights as training scripts save them, and files that are none."""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from fedtl.errors import UsageError
from fedtl.transfer.backbones import Backbone, load_backbone
from fedtl.transfer.state_search import find_state

NAME = "squeezenet1_1"


def loaded(path: Path) -> Backbone:
    return load_backbone(NAME, weights=str(path), image_size=64, seed=0)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.get_model(NAME, weights=None).state_dict())


def under(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda s: {prefix + key: value for key, value in s.items()}


def zeros(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: torch.zeros_like(value) for key, value in state.items()}


class Opened:
    """What would make a file if it were unpickled."""

    target = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {Opened.target}",)


SETTINGS = argparse.Namespace(lr=0.1, out=pathlib.PosixPath("runs"), seed=np.int64(3))
LOG = {"best": np.float64(0.9), "losses": np.arange(3.0), "seen": collections.defaultdict(list)}
SAVED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plain.pth.tar": lambda s: s,
    "plain.ckpt": lambda s: s,
    "plain": lambda s: s,
    "plain.PTH": lambda s: s,
    "plain.safetensors": lambda s: s,
    "plain.npz": lambda s: s,
    "tutorial.pth": lambda s: {"epoch": 5, "model_state_dict": s, "optimizer_state_dict": {}},
    "net.pth": lambda s: {"net": s, "acc": 88.1},
    "ema.pth": lambda s: {"state_dict_ema": s, "epoch": 3},
    "both.pth": lambda s: {"model_ema": zeros(s), "model": s},
    "twice.pth": lambda s: {"a": s, "b": dict(s)},
    "compiled.pth": under("_orig_mod."),
    "compiled_ddp.pth": under("_orig_mod.module."),
    "lightning.ckpt": lambda s: {"state_dict": under("backbone.net.")(s), "hyper_parameters": LOG},
    "deep.pt": lambda s: {"ckpt": {"weights": {"net": under("module.")(s)}}},
    "settings.pth": lambda s: {"model": s, "args": SETTINGS, "log": LOG},
    "epoch.pth": lambda s: s | {"epoch": 7},
}


@pytest.mark.parametrize("name", SAVED)
def test_the_network_is_found_in_what_scripts_save(
    name: str, state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "reference.pth")
    torch.save(SAVED[name](state), tmp_path / name)
    found = loaded(tmp_path / name)
    assert found.fingerprint == loaded(tmp_path / "reference.pth").fingerprint
    plain = name.startswith(("plain", "epoch"))
    assert (found.told == "") == plain and (plain or name in found.told)


def test_what_was_found_and_what_was_not_taken_is_told(state: dict[str, Any]) -> None:
    content = {"model_ema": zeros(state), "model": under("module.")(state)}
    found = find_state(content, state.keys(), source="a.pth")
    assert found.told == (
        "a.pth: the network lies in entry model, under keys that begin with module.; not taken: "
        "what lies in entry model_ema"
    )
    assert all(torch.equal(found.state[key], state[key]) for key in state)


def test_a_file_with_two_networks_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    both = {"student": under("backbone.")(state), "teacher": under("backbone.")(zeros(state))}
    torch.save(both, tmp_path / "two.pth")
    with pytest.raises(
        UsageError, match=r"more than once, in entry student.* and in entry teacher"
    ):
        loaded(tmp_path / "two.pth")


def test_nothing_in_a_file_is_run(state: dict[str, Any], tmp_path: Path) -> None:
    Opened.target = str(tmp_path / "opened")
    torch.save({"model": state, "args": Opened()}, tmp_path / "trap.pth")
    with pytest.raises(UsageError) as refusal:
        loaded(tmp_path / "trap.pth")
    assert "trap.pth" in str(refusal.value) and "running code" in str(refusal.value)
    assert not (tmp_path / "opened").exists()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4959141\n"
OTHERS = {
    "pointer.pth": (LFS, "git-lfs pointer to a file of 4,959,141 bytes"),
    "page.pth": (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
    "denied.safetensors": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "an XML message"),
    "api.bin": (b'{"message": "Not Found"}', "a JSON message"),
    "empty.pth": (b"", "is an empty file"),
    "keras.pth": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    "graph.onnx": (b"\x08\x07\x12\x07pytorch" + bytes(99), "an ONNX file: save the weights"),
    "real.pth.tar": (bytes(257) + b"ustar" + bytes(250), "a tar archive: unpack it"),
    "packed.pth": (b"\x1f\x8b\x08" + bytes(99), "compressed by gzip: unpack it"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_something_else_is_told_for_what_it_is(name: str, tmp_path: Path) -> None:
    content, said = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as refusal:
        loaded(tmp_path / name)
    assert name in str(refusal.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_was_cut_short_is_told_as_damaged(
    suffix: str, state: dict[str, Any], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"cut.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut\..*damaged.*cut short"):
        loaded(path)


def test_a_zip_of_arrays_and_a_program_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    (tmp_path / "arrays.npz").rename(tmp_path / "arrays.pth")
    with pytest.raises(UsageError, match=r"a \.npz of arrays"):
        loaded(tmp_path / "arrays.pth")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "p.pt")
    with pytest.raises(UsageError, match="a TorchScript program"):
        loaded(tmp_path / "p.pt")


@pytest.mark.parametrize("damage", ["page", "cut"])
def test_a_damaged_download_is_named_with_the_remedy(
    damage: str, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights(NAME).DEFAULT.url
    kept = tmp_path / "hub" / "checkpoints" / Path(url).name
    kept.parent.mkdir(parents=True)
    torch.save(state, kept)
    whole = kept.read_bytes()
    kept.write_bytes(b"<html>" if damage == "page" else whole[: len(whole) // 2])
    with pytest.raises(UsageError) as refusal:
        loaded(Path("DEFAULT"))
    assert f"delete {kept}" in str(refusal.value) and "damaged" in str(refusal.value)


def test_a_member_whose_checksum_differs_is_told(state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rotten.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"rotten\.pth is damaged \(the checksum of .* differs"):
        loaded(path)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert loaded(path).fingerprint


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda w: (w * 10).to(torch.int8), "is int8, and should be dense floating-point"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "is quantized"),
        (lambda w: w.to_sparse(), "is sparse float32"),
        (lambda w: w * float("nan"), "NaN or infinite; take a checkpoint from before"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_values_that_a_network_cannot_take_are_told(
    made: Callable[[torch.Tensor], torch.Tensor],
    said: str,
    state: dict[str, Any],
    tmp_path: Path,
) -> None:
    key = "features.3.squeeze.weight"
    torch.save(state | {key: made(state[key])}, tmp_path / "odd.pth")
    with pytest.raises(UsageError, match=f"odd.pth cannot be used: its {key}.*{said}") as refusal:
        loaded(tmp_path / "odd.pth")
    assert "\n" not in str(refusal.value)


def test_another_networks_weights_and_folders_are_told(tmp_path: Path) -> None:
    torch.save(torchvision.models.get_model("resnet18").state_dict(), tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"0 of .* names fit: is it another network's"):
        loaded(tmp_path / "other.pth")
    with pytest.raises(UsageError, match="is a folder: name the file in it"):
        loaded(tmp_path)


def test_weights_in_a_zip_of_ones_own_are_to_be_unpacked(
    state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "inner.pth")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner.pth", "best/inner.pth")
    with pytest.raises(UsageError, match=r"a zip archive of best/inner\.pth: unpack it"):
        loaded(tmp_path / "outer.zip")
