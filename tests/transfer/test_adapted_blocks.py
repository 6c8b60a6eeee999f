"""Low-rank adapters: what is averaged, against dense sums of every client's change of W."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_federation import federated
from tiny_blocks import BACKBONE, SIDE
from tiny_encoders import write_tiny

import strategies
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.transfer.boundary import boundary_of, cut_backbone, only_network
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import head_of, one_thread, settled, summable
from fedtl.transfer.shared_features import SharedFeatures
from fedtl.transfer.standardisation import Moments, Standardisation
from fedtl.transfer.trained_blocks import TrainedBlocks
from strategies.base import Arrays, Received, Reply

CLASSES, PICTURES = 3, 30
METHODS = ("lora", "ffa", "rolora", "fedex")
EXACT = METHODS[1:]
# The layers above the cut that are 1 x 1 convolutions.
LAYERS = ("body.1.point", "body.2.point")


def _config(method: str, **changes: Any) -> RunConfig:
    return RunConfig(
        backbone=BACKBONE,
        trainable_blocks=2,
        adapter=method,
        rank=2,
        learning_rate=0.1,
        blocks_rate=1.0,
        local_epochs=2,
        batch_size=4,
    ).replace(**changes)


@pytest.fixture(scope="module")
def block() -> ClientBlock:
    pixels = torch.randn(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows = cut_backbone(_config("lora"))[0].forward(pixels).clone()
    size = boundary_of(only_network(_config("lora"))).size
    features = rows[:, size:]
    whole = Standardisation.from_moments(Moments.of(features, np.arange(PICTURES)))
    return ClientBlock.unstandardised(
        features,
        torch.arange(PICTURES) % CLASSES,
        [np.arange(4), np.arange(4, 13), np.arange(13, PICTURES)],
        [0, 1, 2],
        CLASSES,
        below=rows[:, :size],
    ).standardised([whole])


def _weights(form: TrainedBlocks, arrays: Arrays, layer: str) -> NDArray[np.float64]:
    """Return W + ΔW of a layer, as the network is run with."""
    tensors = {name: torch.from_numpy(np.asarray(value)).double() for name, value in arrays.items()}
    weight = form.weights_of(tensors)[f"{layer}.weight"]
    return weight.double().numpy()


def _round(
    config: RunConfig, block: ClientBlock, head: Arrays, server_round: int
) -> tuple[Arrays, list[Arrays]]:
    """Return the head after a round of fedavg, and every client's."""
    form = head_of(config, features=block.features.shape[1], classes=CLASSES)
    strategy = strategies.build(config, form)
    received = {
        name: torch.from_numpy(value.astype(np.float32)).expand(len(block), *value.shape)
        for name, value in head.items()
    }
    with one_thread(), torch.inference_mode():
        trained = strategy.client_train(block, Received(received), server_round)
    replies = [
        Reply(len(rows), summable(form, one.arrays, head))
        for rows, one in zip(block.rows, trained, strict=True)
    ]
    found = strategy.aggregate(server_round, summable(form, head, head), replies)
    assert found is not None
    return settled(form, found), [{**head, **one.arrays} for one in trained]


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_of_what_is_sent_is_the_mean_of_changes(method: str, block: ClientBlock) -> None:
    config = _config(method)
    form = head_of(config, features=block.features.shape[1], classes=CLASSES)
    assert isinstance(form, TrainedBlocks)
    head: Arrays = dict(form.initial("auto", 0))
    shares = block.sizes / block.sizes.sum()
    apart, moved = 0.0, 0.0
    for server_round in range(1, 5):
        after, clients = _round(config, block, head, server_round)
        for layer in LAYERS:
            before = _weights(form, head, layer)
            dense = sum(
                share * (_weights(form, one, layer) - before)
                for share, one in zip(shares, clients, strict=True)
            )
            change = _weights(form, after, layer) - before
            moved = max(moved, float(np.abs(dense).max()))
            apart = max(apart, float(np.abs(change - dense).max()))
        head = after
    assert moved > 1e-4
    assert (apart < 1e-6) == (method in EXACT), apart


def test_factors_may_first_be_asked_for_where_nothing_is_trained(block: ClientBlock) -> None:
    config = _config("ffa", rank=3)  # no other test's
    form = head_of(config, features=block.features.shape[1], classes=CLASSES)
    assert isinstance(form, TrainedBlocks)
    head: Arrays = dict(form.initial("auto", 0))
    with torch.inference_mode():
        _weights(form, head, LAYERS[0])
    after, _ = _round(config, block, head, 1)
    assert all(after[f"adapter.up.{layer}"].any() for layer in LAYERS)


def test_factors_are_trained_by_turns(block: ClientBlock) -> None:
    config = _config("rolora")
    form = head_of(config, features=block.features.shape[1], classes=CLASSES)
    head: Arrays = dict(form.initial("auto", 0))
    for server_round, moved in ((1, "up"), (2, "down"), (3, "up")):
        after, _ = _round(config, block, head, server_round)
        changed = {
            name.split(".")[1]
            for name in head
            if not np.array_equal(after[name], head[name]) and name.startswith("adapter.")
        }
        assert changed == {moved}
        head = after


@pytest.mark.parametrize("method", METHODS)
def test_only_factors_and_the_head_leave(method: str, block: ClientBlock) -> None:
    config = _config(method, rounds=2).settled()
    nothing = np.empty(0, np.int64)
    assert block.below is not None
    rows = torch.cat([block.below, block.features], 1)
    sites = SimulatedSites(
        features=SharedFeatures(
            (len(rows), rows.shape[1]), None, array=rows.numpy(), boundary_size=block.below.shape[1]
        ),
        labels=block.labels.numpy(),
        train=[np.arange(9), np.arange(9, 20)],
        held_out=[np.arange(20, 23), np.arange(23, 26)],
        test=np.arange(26, PICTURES),
        unseen=nothing,
        class_names=("a", "b", "c"),
        fingerprint=cut_backbone(config)[0].fingerprint,
    )
    outcome, notes = federated(config, sites)
    assert not outcome.failures
    up = {entry.shape for entry in notes.entries if entry.direction == "up"}
    trained = [shape for shape in up if "adapter" in shape]
    factors = set(re.findall(r"adapter\.(\w+)\.", " ".join(trained)))
    assert factors == ({"up"} if method == "ffa" else {"up", "down"})
    assert not any("blocks." in entry.shape for entry in notes.entries)


def test_an_adapter_that_sends_more_down_than_up_goes_with_plain_heads() -> None:
    config = _config("fedex", strategy="scaffold")
    with pytest.raises(UsageError, match="goes with strategies whose clients send their head and"):
        strategies.build(config, head_of(config, features=6, classes=CLASSES))


def test_weights_that_lie_transposed_get_the_same_change(tmp_path: Path) -> None:
    """GPT-2's linear layers hold W as ``(i, o)``; two of the four are square."""
    config = _config("lora", backbone=f"hf:{write_tiny('gpt2', tmp_path)}", trainable_blocks=1)
    form = head_of(config, features=32, classes=CLASSES)
    assert isinstance(form, TrainedBlocks)
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape) for name, shape in form.shapes.items()}
    layers = {
        name.removeprefix("adapter.up."): value.shape[0]
        for name, value in arrays.items()
        if name.startswith("adapter.up.")
    }
    assert sorted(layers.values()) == [32, 32, 96, 128]
    for layer, outputs in layers.items():
        x = rng.normal(size=(5, arrays[f"adapter.down.{layer}"].shape[1]))
        change = _weights(form, arrays, layer) - form.weights[f"{layer}.weight"].numpy()
        expected = x @ arrays[f"adapter.down.{layer}"].T @ arrays[f"adapter.up.{layer}"].T
        assert expected.shape == (5, outputs)
        np.testing.assert_allclose(x @ change, expected, atol=1e-5)


def test_queries_keys_and_values_of_pytorchs_attention_have_an_adapter() -> None:
    config = _config("lora", backbone="tiny_blocks:TinyAttention", trainable_blocks=1)
    assert "by lora adapters of rank 2 alone, on 4 of 4 matrices, " in cut_backbone(config)[0].told
    form = head_of(config, features=6, classes=CLASSES)
    assert isinstance(form, TrainedBlocks)
    rng = np.random.default_rng(0)
    arrays = {
        name: torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        for name, shape in form.shapes.items()
    }
    layer = "encoder.layers.encoder_layer_1.self_attention"
    up, down = arrays[f"adapter.up.{layer}"], arrays[f"adapter.down.{layer}"]
    assert (up.shape, down.shape) == ((18, 2), (2, 6))
    found, own = form.weights_of(arrays), form.weights
    name = f"{layer}.in_proj_weight"
    np.testing.assert_allclose(found[name] - own[name].detach(), up @ down, atol=1e-5)
    # What is trained is what the network is run with.
    given = {key: value[None].requires_grad_() for key, value in arrays.items()}
    size = boundary_of(only_network(config)).size
    x = torch.randn(1, 4, size + 12)
    gradient = torch.autograd.grad(form.logits(given, x).square().sum(), list(given.values()))
    assert all(one.abs().sum() > 0 for one in gradient)


def test_blocks_without_such_layers_are_refused() -> None:
    config = _config("lora", backbone="tiny_blocks:TinyPlain")
    with pytest.raises(UsageError, match="there is none among the trained blocks; train more of"):
        _ = head_of(config, features=64, classes=3).shapes
