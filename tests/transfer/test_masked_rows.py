"""Networks for texts and spectra in two: what passes is vectors, and how many of them count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoders import write_tiny
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import Backbone, backbone_of
from fedtl.transfer.boundary import cut_backbone
from fedtl.transfer.masked_rows import packed, there_of, vectors_of
from fedtl.transfer.network_cut import Cuttable

TEXTS = ("good film", "it is a very bad phone " * 3, "the food was great, this is not " * 9)


@pytest.fixture(scope="module", params=["bert", "roberta", "gpt2", "whisper"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = write_tiny(request.param, tmp_path_factory.mktemp("networks"))
    return RunConfig(backbone=f"hf:{folder}", trainable_blocks=1)


def _batch(backbone: Backbone) -> tuple[Tensor, ...]:
    """Inputs of different lengths, padded to one."""
    if backbone.preprocessing.one_shape:
        columns = torch.arange(200)[None] < torch.tensor([[40], [120], [200]])
        draws = torch.Generator().manual_seed(0)
        return torch.randn(3, 80, 200, generator=draws), columns.float()
    prepared = [backbone.preprocessing.prepare(text) for text in TEXTS]
    return backbone.preprocessing.collate(prepared, 64, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_halves_are_the_whole_to_the_bit(config: RunConfig, count: int) -> None:
    backbone = backbone_of(config)
    batch = _batch(backbone)
    network, own = backbone.network, dict(backbone.network.named_parameters())
    halves = Cuttable(network, "it", tuple(part[:1] for part in batch)).before_last(count)
    assert halves.blocks == count
    with torch.inference_mode():
        rows = halves.below(*batch)
        assert rows.ndim == 2
        assert torch.equal(halves.above(rows.clone()), network(*batch))
        for row in range(3):
            assert torch.equal(halves.above(rows[row : row + 1]), network(*batch)[row : row + 1])
    above = dict(halves.above.named_parameters())
    assert above
    assert all(value is own[name] for name, value in above.items())


def test_features_are_those_of_the_whole_network(config: RunConfig) -> None:
    """Of a text by itself, in however few tokens: padding changes but the rounding."""
    cut, boundary = cut_backbone(config)
    assert boundary is not None
    whole = backbone_of(config)
    if whole.preprocessing.one_shape:
        rows, expected = cut.forward(*_batch(whole)), whole.forward(*_batch(whole))
        assert torch.equal(rows[:, boundary.size :], expected)
        return
    assert "All texts are padded to 64 tokens for that (max-length)." in cut.told
    assert "cut at 64 tokens (max-length). The backbone is trained from" in cut.told
    for text in TEXTS:
        batch = cut.batch_of(text)
        assert batch[0].shape == (1, 64)
        found = cut.forward(*batch)[:, boundary.size :]
        torch.testing.assert_close(found, whole.forward(*whole.batch_of(text)), atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_how_many_count_is_exact_in_any_precision(kind: torch.dtype) -> None:
    counts = torch.tensor([[1], [127], [128], [257], [1023], [3000]])
    there = (torch.arange(3000) < counts).long()
    vectors = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0)).to(kind)
    rows = packed(vectors, there)
    assert rows.dtype == kind
    assert rows.shape == (6, 12)
    assert torch.equal(vectors_of(rows, (5, 2)), vectors)
    assert torch.equal(there_of(rows, 3000, torch.int64), there)
    assert there_of(rows, 3000, torch.float32).dtype == kind


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("t5", "tokens pass there, which nothing can be trained from; use trainable-blocks = 0"),
        ("wav2vec2", "as what it takes differs in length; use trainable-blocks = 0"),
    ],
)
def test_networks_that_cannot_be_cut_are_refused(name: str, told: str, tmp_path: Path) -> None:
    config = RunConfig(backbone=f"hf:{write_tiny(name, tmp_path)}", trainable_blocks=1)
    with pytest.raises(UsageError, match=told):
        cut_backbone(config)
