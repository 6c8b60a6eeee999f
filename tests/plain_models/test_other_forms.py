"""Networks beside torchvision's: what makes them anew, what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_networks import TEMPERATURE, drawn_classifier, features_of, made_anew
from tiny_encoders import FAMILIES, write_tiny
from tiny_open_clip import write_tiny_open_clip
from torch import Tensor, nn

from fedtl.config import RunConfig
from fedtl.data.schema import CategoryColumn, NumericColumn, Schema
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.classifier import Classifier
from fedtl.plain_models import plain_model as builder
from fedtl.plain_models.plain_model import PlainModel, plain_model
from fedtl.plain_models.probe import probe
from fedtl.plain_models.weights import write_weights
from fedtl.transfer.backbones import Backbone, backbone_of

# With a model for classification of transformers' own that pools as the run does.
_THEIR_OWN = ("vit", "wav2vec2")


def _drawn(name: str, monkeypatch: pytest.MonkeyPatch, head: str = "linear") -> Classifier:
    """Return a run with a drawn head on a backbone."""
    weights = "random" if name.startswith(("timm:", "fedtl")) else "DEFAULT"
    config = RunConfig(backbone=name, weights=weights, strategy="fedavg", head=head).settled(())
    backbone = backbone_of(config)
    batches = [probe(backbone.preprocessing, 4, seed) for seed in range(3)]
    monkeypatch.setattr(Classifier, "backbone", lambda _: backbone)
    return drawn_classifier(config, features_of(backbone, batches), backbone.fingerprint)


def _compared(found: Classifier, plain: PlainModel, module: Any) -> None:
    """Compare a network with fedtl's features and head, on a batch that made neither."""
    backbone = found.backbone()
    batch = probe(backbone.preprocessing, 2, 5)
    expected = found.outputs(features_of(backbone, [batch])) / TEMPERATURE
    with torch.no_grad():
        said = module(*batch)
    np.testing.assert_allclose(
        said.numpy(), expected, rtol=0, atol=1e-5 * float(np.abs(expected).max())
    )


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("name", ["fedtl-tiny", "log-mel", "wordllama", "timm:resnet10t"])
def test_networks_are_made_anew_without_fedtl(
    name: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _drawn(name, monkeypatch, head)
    plain = plain_model(found)
    assert plain.recipe is not None
    assert not any("fedtl" in line for line in plain.recipe.imports)
    _compared(found, plain, plain.module)
    _compared(found, plain, made_anew(plain.recipe, plain.written))


def test_the_picture_half_of_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _drawn(write_tiny_open_clip(tmp_path)[1], monkeypatch)
    plain = plain_model(found)
    assert plain.recipe is not None
    _compared(found, plain, made_anew(plain.recipe, plain.written))


@pytest.mark.parametrize("features", [0, 30])
def test_rows_of_tables_take_the_head_or_a_traced_network(
    features: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = NumericColumn("age", 40.0, 9.0, gaps=True), CategoryColumn("sex", ("f", "m"))
    config = RunConfig(backbone="tabular", strategy="fedavg", random_features=features)
    backbone = backbone_of(config, Schema(columns))
    batches = [probe(backbone.preprocessing, 9, seed) for seed in range(3)]
    monkeypatch.setattr(Classifier, "backbone", lambda _: backbone)
    found = drawn_classifier(config, features_of(backbone, batches), backbone.fingerprint)
    plain = plain_model(found)
    _compared(found, plain, plain.module)
    assert (plain.recipe is None) == bool(features)
    if features:
        with pytest.raises(UsageError, match="are numbers that the run drew; --to torchscript"):
            write_weights(plain, "torch", tmp_path, ("rows",))
        write_weights(plain, "torchscript", tmp_path, ("rows",))
    else:
        assert plain.recipe is not None
        _compared(found, plain, made_anew(plain.recipe, plain.written))


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_transformers(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _drawn(f"hf:{write_tiny(family, tmp_path)}", monkeypatch)
    plain = plain_model(found)
    _compared(found, plain, plain.module)
    # A trace may not keep the size of the batch that it was made with, nor its length.
    write_weights(plain, "torchscript", tmp_path, ["one", "two"])
    traced: Any = torch.jit
    _compared(found, plain, traced.load(str(tmp_path / "model.torchscript.pt")))
    if family not in _THEIR_OWN:
        assert plain.recipe is None
        with pytest.raises(UsageError, match=r"own models for .*; --to torchscript or --to onnx"):
            write_weights(plain, "torch", tmp_path, [])
        return
    assert plain.recipe is not None
    theirs: Any = plain.written
    assert type(theirs).__module__.startswith("transformers.")
    assert theirs.config.id2label[1] == "bee"
    _compared(found, plain, lambda *batch: theirs(batch[0]).logits)


class _Other(nn.Module):
    """A network that says something else."""

    def forward(self, *batch: Tensor) -> Tensor:
        return torch.ones(len(batch[0]), 3)


def test_a_form_that_says_something_else_is_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _drawn("fedtl-tiny", monkeypatch)

    def other(*_: object) -> Any:
        return builder._Form(_Other(), _Other(), None)

    monkeypatch.setattr(builder, "_form", other)
    with pytest.raises(FedtlError, match="gives other outputs in plain form"):
        plain_model(found)


def test_a_network_of_ones_own_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the run's environment can make has no recipe, and is written as it computes."""
    found = _drawn("fedtl-tiny", monkeypatch)
    backbone: Backbone = found.backbone()
    (tmp_path / "mine_here.py").write_text("class Mine: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = Classifier(found.run, found.config.replace(backbone="mine_here:Mine"), found.trained)
    plain = plain_model(own)
    assert plain.recipe is None
    assert "is a class of the run's environment" in plain.refusal
    write_weights(plain, "torchscript", tmp_path, ["pixels"])
    assert backbone is plain.backbone
