"""Cuts of networks: the halves are the whole to the bit, and blocks are what people call so."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.transfer import torchvision_models
from fedtl.transfer.boundary import cut_backbone
from fedtl.transfer.network_cut import Cuttable

# One of each way to be built: chains, residuals, branches, joined maps, tokens, windows.
SMALL = {
    "squeezenet1_1": 64,
    "resnet18": 32,
    "mobilenet_v3_small": 32,
    "shufflenet_v2_x0_5": 32,
    "regnet_y_400mf": 32,
    "densenet121": 32,
    "googlenet": 32,
    "vit_b_32": 32,
}


@cache
def _network(name: str, side: int) -> nn.Module:
    return torchvision_models.randomly_initialised(name, side, seed=1).network.eval()


def _picture(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def _cuttable(name: str) -> Cuttable:
    return Cuttable(_network(name, SMALL[name]), name, (_picture(SMALL[name])[:1],))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_above_continues_what_is_below_to_the_bit(name: str) -> None:
    network, picture = _network(name, SMALL[name]), _picture(SMALL[name])
    cuttable = _cuttable(name)
    with torch.inference_mode():
        whole = network(picture)
        for halves in (cuttable.before("input"), cuttable.before_last(1), cuttable.before_last(3)):
            assert torch.equal(halves.above(halves.below(picture).clone()), whole)
            own = dict(halves.above.named_parameters())
            assert own.keys() <= dict(network.named_parameters()).keys()
            assert own


@pytest.mark.parametrize(
    ("name", "last", "count"),
    [
        ("squeezenet1_1", ["features.9", "features.10", "features.11", "features.12"], 9),
        ("resnet18", ["layer3.1", "layer4.0", "layer4.1"], 9),
        ("vit_b_32", ["encoder.layers.encoder_layer_10", "encoder.layers.encoder_layer_11"], 13),
        ("densenet121", ["features.transition3", "features.denseblock4"], 8),
        ("mobilenet_v3_small", ["features.11", "features.12"], 13),
    ],
)
def test_blocks_are_the_parts_of_the_trunk(name: str, last: list[str], count: int) -> None:
    blocks = _cuttable(name).blocks
    assert blocks[-len(last) :] == last
    assert len(blocks) == count


def test_the_last_blocks_are_counted_from_the_end() -> None:
    cuttable = _cuttable("resnet18")
    assert cuttable.before_last(2).name == "layer4.0"
    assert cuttable.before("layer4").blocks == cuttable.before_last(2).blocks == 2
    assert cuttable.before("input").blocks == 9


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            "layer5",
            r"train-from = 'layer5' is no module of resnet18 \(did you mean layer\d\?\); it ",
        ),
        ("layer4.1.conv2", r"more than one tensor passes there in resnet18; it can be cut before "),
    ],
)
def test_a_cut_that_cannot_be_is_refused(module: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        _cuttable("resnet18").before(module)


def test_too_many_blocks_are_refused() -> None:
    with pytest.raises(
        UsageError, match="trainable-blocks = 10, but resnet18 has 9 blocks; it can"
    ):
        _cuttable("resnet18").before_last(10)


@pytest.mark.parametrize("name", ["fedtl-tiny", "wordllama"])
def test_a_network_without_blocks_says_so_once(name: str) -> None:
    told = f"^{name} has no blocks that could be trained; use trainable-blocks = 0, or a network"
    with pytest.raises(UsageError, match=told):
        cut_backbone(RunConfig(backbone=name, trainable_blocks=2))


def test_all_of_it_is_a_remedy_where_the_input_can_be_learnt_from() -> None:
    two = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    said = "but it has 1 block; it can be cut before 0; train-from = 'input' trains all of it"
    with pytest.raises(UsageError, match=said):
        Cuttable(two, "it", (_picture(8)[:1],)).before_last(2)
    words = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)).eval()
    with pytest.raises(UsageError, match=r"can be cut before [^;]*\.$"):
        Cuttable(words, "it", (torch.ones(1, 4, dtype=torch.int64),)).before_last(9)


class _Shared(nn.Module):
    """A parameter that is used on both sides of a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.scale = nn.Parameter(torch.full((1,), 1.5))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.second(self.first(x) * self.scale) * self.scale).mean((2, 3))
        return found


def test_what_both_sides_use_is_on_both() -> None:
    network, picture = _Shared().eval(), _picture(16)
    halves = Cuttable(network, "mine", (picture[:1],)).before("second")
    with torch.inference_mode():
        assert torch.equal(halves.above(halves.below(picture)), network(picture))
    assert "scale" in dict(halves.above.named_parameters())
    assert "scale" in dict(halves.below.named_parameters())


class _Two(nn.Module):
    def forward(self, planes: Tensor, others: Tensor) -> Tensor:
        return planes * others


class _Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("network", "inputs", "reason"),
    [(_Two(), 2, "it takes more than one tensor"), (_Branching(), 1, "cannot be listed")],
)
def test_networks_that_cannot_be_listed_are_refused(
    network: nn.Module, inputs: int, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        Cuttable(network, "mine", (_picture(8)[:1],) * inputs)


class _ByTwos(nn.Module):
    """What it does with three inputs is more than what it does with two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.second(few) for few in torch.split(self.first(x), 2)]
        return torch.cat(parts).mean((2, 3))


def test_halves_that_are_not_the_whole_are_refused() -> None:
    cuttable = Cuttable(_ByTwos().eval(), "mine", (_picture(16)[:1],))
    with pytest.raises(UsageError, match="mine cannot be cut before second, as it computes someth"):
        cuttable.before("second")


class _Unordered(nn.Module):
    """Its modules are not listed in the order in which they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.middle, self.first = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.middle(self.first(x))).mean((2, 3))
        return found


def test_blocks_are_listed_in_the_order_in_which_they_are_used() -> None:
    cuttable = Cuttable(_Unordered().eval(), "mine", (_picture(4)[:1],))
    assert cuttable.blocks == ["first", "middle", "last"]
    assert cuttable.before_last(1).name == "last"


@pytest.mark.parametrize("name", ["fedtl-tiny", "wordllama"])
def test_networks_without_blocks_say_so_once(name: str) -> None:
    """Nothing is advised that is refused in its turn."""
    said = rf"^{name} has no blocks that could be trained; use trainable-blocks = 0, or a network"
    with pytest.raises(UsageError, match=said):
        cut_backbone(RunConfig(backbone=name, trainable_blocks=2))


def test_embeddings_have_no_blocks(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=np.eye(8, dtype=np.float32), y=np.arange(8) % 2)
    config = RunConfig(data=f"features:{tmp_path / 'f.npz'}", trainable_blocks=1)
    with pytest.raises(UsageError, match="f holds features, which have no blocks to train; use"):
        prepare_inputs(config, open_data(config), None)
