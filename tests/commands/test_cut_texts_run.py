"""A run that trains the last layer of a network for texts, beside transformers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import complaint, finished
from tiny_encoders import WORDS, write_tiny

from fedtl import predict, simulate
from fedtl.federation.classifier import Classifier

RUN = ("--quiet", "--engine=inline", "--partition=natural", "--rounds=2", "--no-cache")
RUN += ("--trainable-blocks=1", "--test-fraction=0", "--learning-rate=0.1")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    lines = ["text,label,site"]
    for number in range(60):
        words = rng.choice(WORDS.split(), rng.integers(2, 25))
        lines.append(f"{' '.join(words)} {number},{'ab'[number % 2]},{'xy'[number // 2 % 2]}")
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_predictions_are_those_of_transformers_with_the_trained_weights(
    adapter: str, texts: Path, tmp_path: Path
) -> None:
    import transformers as hf

    folder, out = write_tiny("bert", tmp_path), tmp_path / "run"
    flags = (f"--backbone=hf:{folder}", f"--adapter={adapter}", "--data", texts, "--out", out)
    end = finished(simulate.main, *RUN, *flags)
    assert end.exit_code == 0, end.stderr
    assert "All texts are padded to 64 tokens for that" in end.stderr

    trained = Classifier.of_run(out).trained
    arrays = {name: torch.from_numpy(np.array(value)) for name, value in trained.arrays.items()}
    model = hf.AutoModel.from_pretrained(folder).eval()
    state = model.state_dict()
    moved = 0
    for name, value in arrays.items():
        if name.startswith("blocks.model."):
            moved += not torch.equal(state[name.removeprefix("blocks.model.")], value)
            state[name.removeprefix("blocks.model.")] = value
        if name.startswith("adapter.up.model."):
            layer = name.removeprefix("adapter.up.model.")
            change = value @ arrays[f"adapter.down.model.{layer}"]
            moved += bool(change.abs().max() > 0)
            state[f"{layer}.weight"] = state[f"{layer}.weight"] + change
    assert moved >= (6 if adapter == "lora" else 8)
    model.load_state_dict(state)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    assert trained.standardisation is not None
    mean, scale = trained.standardisation.mean, trained.standardisation.scale
    table = predict(out, texts)
    lines = texts.read_text().splitlines()[1:]
    assert len(table) == len(lines)
    for row in (0, 7, 30):
        given = tokenizer(lines[row].split(",")[0], return_tensors="pt")
        with torch.inference_mode():
            features = model(**given).last_hidden_state[0].mean(0).numpy()
        logits = (features - mean) * scale @ trained.arrays["weight"].T + trained.arrays["bias"]
        expected = torch.from_numpy(logits / trained.temperature).softmax(0)
        told = table.iloc[row][list(trained.classes)].to_numpy(float)
        np.testing.assert_allclose(told, expected, atol=2e-5)


def test_texts_that_would_take_too_much_are_refused(texts: Path, tmp_path: Path) -> None:
    folder = write_tiny("bert", tmp_path)
    flags = (f"--backbone=hf:{folder}", "--data", texts, "--cache-limit=1e-4")
    said = complaint(simulate.main, *RUN, *flags, "--out", tmp_path / "run")
    # 64 tokens of 32 numbers, how many there are, and 32 features, 4 bytes each: for 60 texts.
    assert said.startswith("What is below the trained blocks takes 499.7 kB (8.3 kB for each of 60")
