"""A whole run that trains blocks: its folder, its predictions, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import complaint, finished
from PIL import Image
from tiny_blocks import BACKBONE

from fedtl import RunResult, compare, predict, simulate
from fedtl.csv_cells import read_table
from fedtl.exported_folder import export
from fedtl.federation.classifier import Classifier
from fedtl.transfer.backbones import backbone_of

RUN = ("--engine=inline", "--quiet", "--partition=natural", "--rounds=3", f"--backbone={BACKBONE}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares at two sites, stripes of which lie or stand."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures") / "stripes"
    for site in ("east", "west"):
        for label in ("lie", "stand"):
            (root / site / label).mkdir(parents=True)
            for number in range(25):
                pixels = rng.integers(0, 200, (8, 8, 3)).astype(np.uint8)
                pixels[:: rng.integers(2, 4)] //= 3
                shown = pixels if label == "lie" else pixels.transpose(1, 0, 2)
                Image.fromarray(shown).save(root / site / label / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    cache = out.with_name("cache")
    flags = ("--data", pictures, "--trainable-blocks=2", "--cache", cache, "--out", out)
    end = finished(simulate.main, *RUN, *flags)
    assert end.exit_code == 0, end.stderr
    assert "The backbone is trained from body.1 on (2 blocks, 756 numbers; statistics of" in (
        end.stderr
    )
    assert "Blocks are also shown 4 random crops of each training picture" in end.stderr
    return out


def test_blocks_are_trained_and_told(run: Path) -> None:
    classifier = Classifier.of_run(run)
    initial = classifier.form(classifier.feature_size).initial("auto", 0)
    blocks = [name for name in classifier.trained.arrays if name.startswith("blocks.")]
    assert len(blocks) == 10
    assert any(not np.array_equal(classifier.trained.arrays[n], initial[n]) for n in blocks)
    assert "The backbone is trained from body.1 on" in (run / "report.html").read_text()
    folder, _ = export(run, "torchscript", None, trust=True)
    card = (folder / "MODEL_CARD.md").read_text()
    assert "classes. A network\n" in card
    assert "\nTrained with the head: the last 2 blocks of the network; the rest of" in card
    assert "4 crops of each training picture" in card


def test_predictions_are_those_of_the_whole_network_with_its_blocks_replaced(
    run: Path, pictures: Path
) -> None:
    """Without a cut: the backbone's own network, with trained weights put in by name."""
    table = predict(run, pictures / "east")
    classifier = Classifier.of_run(run)
    arrays, standardisation = classifier.trained.arrays, classifier.trained.standardisation
    assert standardisation is not None
    backbone = backbone_of(classifier.config)
    trained = {
        name.removeprefix("blocks."): torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if name.startswith("blocks.")
    }
    missing, unexpected = backbone.network.load_state_dict(trained, strict=False)
    assert missing
    assert not unexpected
    model = RunResult.load(run).model()
    assert len(table) == 50
    for name, told in table.iterrows():
        picture = np.asarray(Image.open(str(name)).convert("RGB"))
        features = backbone.forward(backbone.preprocess(picture)[None])[0].double().numpy()
        z = (features - standardisation.mean) * standardisation.scale
        logits = z @ arrays["weight"].T.astype(float) + arrays["bias"]
        logits /= classifier.trained.temperature
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        found = told[list(classifier.trained.classes)].to_numpy(float)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with torch.inference_mode():
            of_module = model(model.preprocess(picture)[None])[0].softmax(0)
        np.testing.assert_allclose(of_module.numpy(), expected, atol=1e-5)


def test_crops_of_training_pictures_are_seen(run: Path, pictures: Path, tmp_path: Path) -> None:
    flags = ("--data", pictures, "--trainable-blocks=2", "--views=2", "--no-cache")
    end = finished(simulate.main, *RUN[:1], *RUN[2:], *flags, "--out", tmp_path / "crops")
    assert end.exit_code == 0, end.stderr
    assert "features of 300 inputs" in end.stderr
    of_run = Classifier.of_run(run).trained
    found = Classifier.of_run(tmp_path / "crops").trained
    assert any(not np.array_equal(value, of_run.arrays[n]) for n, value in found.arrays.items())
    # The start is from the pictures themselves.
    assert of_run.standardisation is not None
    assert found.standardisation is not None
    assert np.array_equal(found.standardisation.mean, of_run.standardisation.mean)


def test_a_run_without_a_cache_has_the_same_bytes(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    flags = ("--data", pictures, "--trainable-blocks=2", "--no-cache", "--out", tmp_path / "again")
    end = finished(simulate.main, *RUN, *flags)
    assert end.exit_code == 0, end.stderr
    head = (tmp_path / "again" / "head.safetensors").read_bytes()
    assert head == (run / "head.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--trainable-blocks=9",), "trainable-blocks = 9, but tiny_blocks:TinyBlocks has 4 blo"),
        (("--train-from=body.3",), "train-from = 'body.3' is no module of tiny_blocks:TinyBloc"),
        (("--trainable-blocks=1", "--strategy=fed3r"), "strategy = 'fed3r' takes no gradient st"),
        (("--trainable-blocks=1", "--cache-limit=1e-9"), "What is below the trained blocks takes"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    flags: tuple[str, ...], sentence: str, pictures: Path, tmp_path: Path
) -> None:
    said = complaint(simulate.main, *RUN, "--data", pictures, *flags, "--out", tmp_path / "run")
    assert said.startswith(sentence)


def test_a_comparison_sets_linear_heads_beside_trained_blocks(
    pictures: Path, tmp_path: Path
) -> None:
    flags = ("--data", pictures, "--trainable-blocks=1", "--no-cache", "--seeds=1")
    named = ("--strategies=fed3r,fedavg", "--out", tmp_path / "both")
    end = finished(compare.main, *RUN, *flags, *named)
    assert end.exit_code == 0, end.stderr
    rows = {
        row["strategy"]: row
        for row in read_table((tmp_path / "both" / "comparison.csv").read_text())
    }
    alone = ("--strategies=fed3r", "--out", tmp_path / "one")
    end = finished(compare.main, *RUN, *flags[:2], *flags[3:], *alone)
    assert end.exit_code == 0, end.stderr
    (linear,) = read_table((tmp_path / "one" / "comparison.csv").read_text())
    assert rows["fed3r"]["federated_accuracy"] == linear["federated_accuracy"]
    assert rows["fedavg"]["federated_accuracy"] != linear["federated_accuracy"]
