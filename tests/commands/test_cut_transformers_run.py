"""Runs that train the last layers of transformers: any engine, adapters, predictions, exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import finished
from PIL import Image
from tiny_encoders import write_tiny

from fedtl import RunResult, export, predict, simulate
from fedtl.federation.classifier import Classifier
from fedtl.transfer.backbones import backbone_of
from fedtl.transfer.boundary import cut_backbone

RUN = ("--quiet", "--partition=natural", "--rounds=2", "--no-cache", "--trainable-blocks=1")
RUN += ("--test-fraction=0", "--learning-rate=0.1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares at two sites, stripes of which lie or stand."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures") / "stripes"
    for number in range(48):
        site, label = ("east", "west")[number % 2], ("lie", "stand")[number // 2 % 2]
        (root / site / label).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 200, (32, 32, 3)).astype(np.uint8)
        pixels[:: rng.integers(2, 4)] //= 3
        shown = pixels if label == "lie" else pixels.transpose(1, 0, 2)
        Image.fromarray(shown).save(root / site / label / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module", params=["hf", "timm"])
def backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """Flags that name a network of two layers of transformers', or one of six of timm's."""
    if request.param == "timm":
        return "--backbone=timm:test_vit", "--weights=random", "--image-size=32"
    return (f"--backbone=hf:{write_tiny('vit', tmp_path_factory.mktemp('networks'))}",)


@pytest.fixture(scope="module")
def run(
    pictures: Path, backbone: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = ("--engine=inline", "--data", pictures, "--out", out)
    end = finished(simulate.main, *RUN, *backbone, *flags)
    assert end.exit_code == 0, end.stderr
    assert "The backbone is trained from " in end.stderr
    return out


def test_the_layer_is_trained_and_the_model_says_what_the_run_predicts(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    classifier = Classifier.of_run(run)
    initial = classifier.form(classifier.feature_size).initial("auto", 0)
    for name, value in initial.items():
        # A key's bias moves all scores of a query alike: its gradient is but rounding.
        if name.endswith("weight"):
            assert not np.array_equal(classifier.trained.arrays[name], value), name
    table = predict(run, pictures / "east")
    expected = table[list(classifier.trained.classes)].to_numpy(float)
    shown = [np.asarray(Image.open(str(name)).convert("RGB")) for name in table.index]
    model = RunResult.load(run).model()
    with torch.inference_mode():
        batch = torch.stack([model.preprocess(picture) for picture in shown])
        np.testing.assert_allclose(model(batch).softmax(1), expected, atol=1e-5)
    end = finished(export.main, run, "--to=safetensors", "--out", tmp_path / "model")
    assert end.exit_code == 0, end.stderr


def test_features_are_those_of_the_whole_network(run: Path) -> None:
    """What closed forms are solved on, and local-only and centralised heads."""
    config = Classifier.of_run(run).config
    cut, boundary = cut_backbone(config)
    whole = backbone_of(config)
    assert boundary is not None
    assert cut.fingerprint != whole.fingerprint
    side = whole.batch_of(np.zeros((32, 32, 3), np.uint8))[0].shape[-1]
    pixels = torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(0))
    rows = cut.forward(pixels)
    assert rows.shape == (5, boundary.size + whole.feature_size)
    assert torch.equal(rows[:, boundary.size :], whole.forward(pixels))


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("backbone", ["hf"], indirect=True)
def test_clients_in_processes_give_the_same_bytes(
    run: Path, pictures: Path, backbone: tuple[str, ...], tmp_path: Path
) -> None:
    flags = ("--engine=ray", "--data", pictures, "--out", tmp_path / "ray")
    end = finished(simulate.main, *RUN, *backbone, *flags)
    assert end.exit_code == 0, end.stderr
    head = (tmp_path / "ray" / "head.safetensors").read_bytes()
    assert head == (run / "head.safetensors").read_bytes()


def test_adapters_are_those_of_the_layers_that_are_linear(
    pictures: Path, backbone: tuple[str, ...], tmp_path: Path
) -> None:
    flags = ("--engine=inline", "--adapter=lora", "--rank=2", "--data", pictures)
    end = finished(simulate.main, *RUN, *backbone, *flags, "--out", tmp_path / "lora")
    assert end.exit_code == 0, end.stderr
    trained = Classifier.of_run(tmp_path / "lora").trained
    layers = [name for name in trained.arrays if name.startswith("adapter.up.")]
    assert len(layers) == (4 if "timm" in backbone[0] else 6)
    assert all(trained.arrays[name].any() for name in layers)
    model = RunResult.load(tmp_path / "lora").model()
    told = predict(tmp_path / "lora", pictures / "west").iloc[:3]
    for name, row in told.iterrows():
        picture = np.asarray(Image.open(str(name)).convert("RGB"))
        with torch.inference_mode():
            said = model(model.preprocess(picture)[None]).softmax(1)[0]
        np.testing.assert_allclose(said, row[list(trained.classes)].to_numpy(float), atol=1e-5)
