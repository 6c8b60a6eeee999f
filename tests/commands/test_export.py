"""Exported folders say what predict says, in a process without fedtl; and what is refused."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import complaint, finished
from PIL import Image
from torch import nn
from without_fedtl import said_without_fedtl

from fedtl import RunConfig, RunResult, export, predict, simulate
from fedtl.data.decoding import decode_rgb

SMALL = {
    "engine": "inline",
    "clients": 2,
    "rounds": 2,
    "hospitals_images": 120,
    "hospitals_test_images": 20,
    "hospitals_size": 32,
    "no_cache": True,
    "progress": False,
}
TARGETS = ["torch", "safetensors", "torchscript"]
TARGETS += ["onnx"] if importlib.util.find_spec("onnxruntime") else []


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run whose head gives probabilities, on a network of torchvision's.

    Its pictures differ as photographs do: a network of random weights gives features that lie only
    a few deviations from zero, and the standardisation is folded in.
    """
    folder, rng = tmp_path_factory.mktemp("exported"), np.random.default_rng(0)
    for number in range(40):
        pixels = np.kron(rng.integers(0, 256, (5, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        pixels[:, :, 2 * (number % 2)] //= 3
        path = folder / "data" / ("red", "blue")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    keys = {"backbone": "shufflenet_v2_x0_5", "weights": "random", "image_size": 40}
    keys |= {
        "test_fraction": 0.0,
        "clients": 2,
        "rounds": 2,
        "engine": "inline",
        "no_cache": True,
        "progress": False,
    }
    data, out = str(folder / "data"), str(folder / "run")
    return simulate(strategy="fedavg", data=data, out=out, **keys)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of a closed form on the shipped network."""
    out = str(tmp_path_factory.mktemp("exported") / "run")
    return simulate(strategy="fed3r", out=out, **SMALL)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of every colour mode of 8 bits, wide, high, turned by their EXIF, transparent."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    modes = {"wide.png": "RGB", "high.png": "L", "palette.png": "P", "clear.png": "RGBA"}
    for number, (name, mode) in enumerate(modes.items()):
        shape = (51 + 40 * number, 93 - 7 * number, 4)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).convert(mode).save(
            folder / name
        )
    turned = Image.fromarray(rng.integers(0, 256, (61, 47, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / "fits.png")
    hidden = rng.integers(0, 256, (50, 44, 4), dtype=np.uint8)
    hidden[:, :, 3] = 0
    Image.fromarray(hidden).save(folder / "hidden.png")
    return sorted(folder.iterdir())


def _exported(run: RunResult, targets: list[str], into: Path) -> list[Path]:
    folders = []
    for target in targets:
        folders.append(into / target)
        end = finished(export.main, run.path, "--to", target, "--out", folders[-1])
        assert end.exit_code == 0, end.stderr
        assert end.stdout == f"{folders[-1]}\n"
        assert "MODEL_CARD.md names the clients" in end.stderr
    return folders


def test_every_form_says_what_predict_says(
    ran: RunResult, scored: RunResult, pictures: list[Path], tmp_path: Path
) -> None:
    folders = _exported(ran, TARGETS[:3], tmp_path / "ran")
    folders += _exported(scored, TARGETS, tmp_path / "scored")
    said, prepared = said_without_fedtl(folders, pictures, tmp_path)
    for run, of_run, found in ((ran, folders[:3], said[:3]), (scored, folders[3:], said[3:])):
        told = predict(run, [str(path) for path in pictures])
        expected = told.iloc[:, 1:].to_numpy(float)
        assert list(told.columns[1:]) == json.loads((of_run[0] / "labels.json").read_text())
        most = 1e-5 * np.abs(expected).max()
        for folder, values in zip(of_run, found, strict=True):
            np.testing.assert_allclose(values, expected, rtol=0, atol=most, err_msg=str(folder))
    preprocess = ran.model().preprocess
    for path, pixels in zip(pictures, prepared, strict=True):
        own = preprocess(decode_rgb(path.read_bytes()))  # type: ignore[operator]
        np.testing.assert_array_equal(pixels, own.numpy(), err_msg=path.name)


def test_the_weights_are_those_of_the_model_in_python(ran: RunResult, tmp_path: Path) -> None:
    import torchvision
    from safetensors.torch import load_file

    torch_folder, safe_folder = _exported(ran, TARGETS[:2], tmp_path)
    state = torch.load(torch_folder / "model.pt", weights_only=True)
    safe = load_file(safe_folder / "model.safetensors")
    own = ran.model().state_dict()
    assert state.keys() == safe.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)
    assert all(torch.equal(safe[key], own[key]) for key in own)
    # As a person would write it who has never heard of fedtl.
    plain = torchvision.models.shufflenet_v2_x0_5()
    plain.fc = nn.Linear(1024, len(ran.figures["classes"]))
    plain.load_state_dict(state)
    batch = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ran.model()(batch)
        assert torch.equal(plain.eval()(batch), expected)


def test_a_folder_that_exists_is_left_alone(ran: RunResult, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    said = complaint(export.main, ran.path, "--out", tmp_path / "there")
    assert said == f"{tmp_path / 'there'} exists already; name another --out, or remove it."
    assert list((tmp_path / "there").iterdir()) == []


def test_nothing_is_left_of_an_export_that_fails(
    ran: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = complaint(export.main, ran.path, "--to", "onnx", "--out", tmp_path / "here")
    assert said.endswith("onnxscript, which is not installed: pip install 'fedtl[onnx]'.")
    assert list(tmp_path.iterdir()) == []


def test_runs_without_a_model_are_refused(ran: RunResult, tmp_path: Path) -> None:
    assert "is not a run folder" in complaint(export.main, tmp_path)
    assert ran.path is not None
    (tmp_path / "cut").mkdir()
    shutil.copy(ran.path / "config.toml", tmp_path / "cut")
    assert "is not finished; finish it" in complaint(export.main, tmp_path / "cut")
    alone = simulate(
        RunConfig(strategy="local"),
        out=str(tmp_path / "local"),
        **SMALL,  # type: ignore[arg-type]
    )
    assert "every client has its own head" in complaint(export.main, alone.path)


def test_embeddings_export_the_head_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(60, 5)) + 2 * np.eye(3, 5)[y]).astype(np.float32)
    np.savez(tmp_path / "train.npz", x=x, y=y)
    np.savez(tmp_path / "new.npz", x=x[:4])
    keys = {"data": f"features:{tmp_path / 'train.npz'}", "clients": 2, "engine": "inline"}
    run = simulate(
        strategy="fed3r", test_fraction=0.0, out=str(tmp_path / "run"), progress=False, **keys
    )
    (folder,) = _exported(run, ["torch"], tmp_path)
    state = torch.load(folder / "model.pt", weights_only=True)
    assert {key: tuple(one.shape) for key, one in state.items()} == {"weight": (3, 5), "bias": (3,)}
    assert "model = nn.Linear(5, 3)" in (folder / "load_model.py").read_text()
    (values,), _ = said_without_fedtl([folder], [tmp_path / "new.npz"], tmp_path)
    expected = predict(run, x[:1]).iloc[:, 1:].to_numpy(float)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    script = runpy.run_path(str(folder / "load_model.py"))
    wanted = "with x (float32, shape any, 5) is wanted."
    assert wanted.removesuffix(" is wanted.") in (folder / "MODEL_CARD.md").read_text()
    np.savez(tmp_path / "double.npz", x=x[:4].astype(np.float64))
    double = script["classify"](script["load"](), script["prepared"](tmp_path / "double.npz"))
    np.testing.assert_allclose(double, predict(run, x[:4]).iloc[:, 1:].to_numpy(float), atol=1e-5)
    np.savez(tmp_path / "wide.npz", x=x[:, :4])
    np.savez(tmp_path / "other.npz", features=x)
    np.save(tmp_path / "plain.npy", x)
    (tmp_path / "h.csv").write_text("age,sex\n40,f\n")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "new.npz").read_bytes()[:90])
    for name in ("wide.npz", "other.npz", "plain.npy", "h.csv", "cut.npz", "absent.npz"):
        with pytest.raises(SystemExit, match=re.escape(wanted)):
            script["prepared"](tmp_path / name)
