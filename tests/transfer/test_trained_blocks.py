"""Blocks trained above a cut against plain PyTorch on the whole network, and bits for bits."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_federation import federated
from tiny_blocks import BACKBONE, SIDE
from torch import Tensor, nn

import strategies
from fedtl.config import RunConfig
from fedtl.errors import FedtlError, UsageError
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.transfer.adjusted_loss import adjusted
from fedtl.transfer.backbones import backbone_of
from fedtl.transfer.boundary import boundary_of, check_room, cut_backbone, only_network
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import head_of, one_thread
from fedtl.transfer.shared_features import Spill
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import Arrays
from strategies.base.local_steps import PlainSGD

CLASSES, PICTURES = 3, 24
CONFIG = RunConfig(
    backbone=BACKBONE,
    trainable_blocks=2,
    init="none",
    learning_rate=0.02,
    blocks_rate=0.25,
    weight_decay=1e-3,
)
ITERATIVE = [
    name
    for name in strategies.available()
    if not strategies.load(name).one_round
    and not strategies.load(name).own_start
    and name != "fedper"
]

_LOSSES = ("adjusted", "plain")


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(PICTURES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(PICTURES) % CLASSES


@pytest.fixture(scope="module")
def rows(pixels: Tensor) -> Tensor:
    """What the cut backbone makes of the pictures, shape (N, D + d)."""
    return cut_backbone(CONFIG)[0].forward(pixels).clone()


def _block(rows: Tensor, labels: Tensor, parts: list[NDArray[np.int64]]) -> ClientBlock:
    size = boundary_of(only_network(CONFIG)).size
    features = rows[:, size:]
    block = ClientBlock.unstandardised(
        features, labels, parts, range(len(parts)), CLASSES, below=rows[:, :size]
    )
    whole = Standardisation.from_moments(Moments.of(features, np.arange(len(features))))
    return block.standardised([whole])


def _trained(config: RunConfig, block: ClientBlock, server_round: int = 1) -> list[Arrays]:
    """Return every client's head after one round, from the initial one."""
    head = head_of(config, features=block.features.shape[1], classes=CLASSES)
    start = {
        name: torch.from_numpy(value).expand(len(block), *value.shape)
        for name, value in head.initial("auto", 0).items()
    }
    with one_thread(), torch.inference_mode():
        found = PlainSGD(config, head).trained(block, start, server_round)
    return [
        {name: value[one].numpy() for name, value in found.items()} for one in range(len(block))
    ]


class _Plain(nn.Module):
    """The whole network with a linear layer, written without fedtl's cut."""

    def __init__(self, network: nn.Module, standardisation: Standardisation) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.mean = torch.from_numpy(standardisation.mean)
        self.scale = torch.from_numpy(standardisation.scale)
        self.fc = nn.Linear(len(self.mean), CLASSES)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.fc((self.network(pixels) - self.mean) * self.scale)
        return found


@pytest.mark.parametrize("everyone", [None, (30, 8, 40)])
def test_training_is_that_of_the_whole_network_in_plain_pytorch(
    everyone: tuple[int, ...] | None, rows: Tensor, labels: Tensor, pixels: Tensor
) -> None:
    """Six steps of SGD with momentum and weight decay, whole batches, a rate of their own."""
    config = CONFIG.replace(local_epochs=6, batch_size=32)
    block = _block(rows, labels, [np.arange(PICTURES)])
    offset = torch.zeros(CLASSES)
    if everyone is not None:
        block = adjusted(block, np.array(everyone))
        share = (torch.tensor(everyone) + 0.5) / (sum(everyone) + 0.5 * CLASSES)
        offset = torch.log(1 / CLASSES / share)  # eight of each here
    (found,) = _trained(config, block)

    plain = _Plain(backbone_of(CONFIG).network, block.standardisation_of(0))
    above = dict(boundary_of(only_network(CONFIG)).above.named_parameters())
    own = dict(plain.network.named_parameters())
    for value in own.values():
        value.requires_grad_(False)
    blocks = [own[name].requires_grad_() for name in above]
    rate = config.blocks_rate
    optimiser = torch.optim.SGD(
        [
            {"params": plain.fc.parameters()},
            {
                "params": blocks,
                "lr": config.learning_rate * rate,
                # fedtl's decay is not slowed down with the gradient.
                "weight_decay": config.weight_decay / rate,
            },
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    before = {name: value.clone() for name, value in plain.network.named_buffers()}
    for _ in range(config.local_epochs):
        optimiser.zero_grad()
        nn.functional.cross_entropy(plain(pixels) + offset, labels).backward()
        longest = torch.cat([value.detach().flatten() for value in blocks]).norm()
        nn.utils.clip_grad_norm_(blocks, float(longest))
        optimiser.step()
    np.testing.assert_allclose(found["weight"], plain.fc.weight.detach(), atol=2e-5)
    initial = dict(backbone_of(CONFIG).network.named_parameters())
    moved = 0.0
    for name in above:
        np.testing.assert_allclose(found[f"blocks.{name}"], own[name].detach(), atol=2e-5)
        moved = max(moved, float((own[name].detach() - initial[name]).abs().max()))
    assert moved > 1e-4
    for name, value in plain.network.named_buffers():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_the_rate_falls_as_pytorchs_cosine_schedule_does(
    adapter: str, rows: Tensor, labels: Tensor
) -> None:
    # A head that begins at zero has no gradient for the blocks in its first step, nor have factors
    # of which one is zero.
    config = CONFIG.replace(rounds=5, adapter=adapter, local_epochs=4)
    block = _block(rows, labels, [np.arange(PICTURES)])
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.blocks_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=config.rounds, eta_min=config.blocks_rate / 10
    )
    for server_round in range(1, config.rounds + 3):
        constant = config.replace(
            blocks_decay="none", blocks_rate=optimiser.param_groups[0]["lr"], weight_decay=0.0
        )
        found, expected = (
            _trained(one, block, server_round)[0]
            for one in (config.replace(weight_decay=0.0), constant)
        )
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
        if server_round < config.rounds:  # personal heads are trained after the last
            optimiser.step()
            schedule.step()


def test_a_clients_bits_do_not_depend_on_its_company(rows: Tensor, labels: Tensor) -> None:
    parts = [np.arange(9), np.arange(9, 14), np.arange(14, PICTURES)]
    config = CONFIG.replace(batch_size=4)
    together = _trained(config, _block(rows, labels, parts))
    for client, part in enumerate(parts):
        block = replace(_block(rows, labels, [part]), partition_ids=[client])
        (alone,) = _trained(config, block)
        for name, value in alone.items():
            assert np.array_equal(value, together[client][name]), name


def _sites(rows: Tensor, labels: Tensor, fingerprint: str) -> tuple[SimulatedSites, Spill]:
    spill = Spill()
    nothing = np.empty(0, np.int64)
    order = np.arange(PICTURES)
    sites = SimulatedSites(
        features=replace(
            spill.share(rows.numpy()), boundary_size=boundary_of(only_network(CONFIG)).size
        ),
        labels=labels.numpy(),
        train=[order[:3], order[3:6], order[6:9], order[9:14]],
        held_out=[order[14:16], order[16:17], order[17:18], order[18:20]],
        test=order[20:],
        unseen=nothing,
        class_names=("a", "b", "c"),
        fingerprint=fingerprint,
    )
    return sites, spill


@pytest.mark.parametrize("name", ITERATIVE)
def test_every_iterative_strategy_trains_blocks(name: str, rows: Tensor, labels: Tensor) -> None:
    fingerprint = cut_backbone(CONFIG)[0].fingerprint
    sites, _spill = _sites(rows, labels, fingerprint)
    config = CONFIG.replace(strategy=name, init="auto", rounds=2).settled()
    outcome, notes = federated(config, sites)
    assert not notes.faults
    assert not outcome.failures
    assert config.init == "fed3r"
    if not strategies.load(name).global_head:
        return
    initial = head_of(config, features=sites.features.feature_size, classes=CLASSES).initial(
        "auto", 0
    )
    changed = [
        name
        for name, value in initial.items()
        if name.startswith("blocks.") and not np.array_equal(outcome.arrays[name], value)
    ]
    assert changed


def test_clients_train_towards_everybodys_mix_of_classes(rows: Tensor, labels: Tensor) -> None:
    """FedAvg is the mean of what clients train, each with its own mix taken out."""
    sites, _spill = _sites(rows, labels, cut_backbone(CONFIG)[0].fingerprint)
    sites = replace(sites, train=[np.arange(0, 6, 3), np.array([1, 2, 4, 5, 8, 9])])
    sites = replace(sites, held_out=sites.held_out[:2])
    config = CONFIG.replace(strategy="fedavg", rounds=1)
    outcome, _ = federated(config, sites)
    plain, _ = federated(config.replace(blocks_loss="plain"), sites)

    block = _block(rows, labels, list(sites.train))
    together = np.concatenate(sites.train)
    moments = Moments.of(block.features, together)
    whole = Standardisation.from_moments(moments).of_trained_blocks()
    block = block.standardised([whole])
    # Half an example is added to every class; everybody's are with those held out.
    own, everyone = np.array([[2.5, 0.5, 0.5], [1.5, 2.5, 3.5]]), np.array([4.5, 3.5, 4.5])
    ratio = own / own.sum(1, keepdims=True) / (everyone / everyone.sum())
    towards_all = replace(block, offset=torch.from_numpy(np.log(ratio).astype(np.float32)))
    for found, wanted in ((plain, block), (outcome, towards_all)):
        first, second = _trained(config, wanted)
        for name, value in found.arrays.items():
            mean = (2 * first[name] + 6 * second[name]) / 8
            np.testing.assert_allclose(value, mean, rtol=1e-6, atol=1e-7, err_msg=name)
    assert not np.allclose(outcome.arrays["bias"], plain.arrays["bias"], atol=1e-4)


@pytest.mark.parametrize("name", ["ditto", "apfl", "local"])
def test_heads_of_a_clients_own_are_for_its_own_mix(
    name: str, rows: Tensor, labels: Tensor
) -> None:
    sites, _spill = _sites(rows, labels, cut_backbone(CONFIG)[0].fingerprint)
    config = CONFIG.replace(strategy=name, rounds=1)
    found, plain = (federated(config.replace(blocks_loss=loss), sites)[0] for loss in _LOSSES)
    for array, value in found.arrays.items():
        assert np.array_equal(value, plain.arrays[array]), array


def test_a_server_with_another_backbone_sends_nothing(rows: Tensor, labels: Tensor) -> None:
    sites, _spill = _sites(rows, labels, "0" * 64)
    with pytest.raises(FedtlError, match="the server begins with its own, so give it the same"):
        federated(CONFIG, sites)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "fed3r"}, "'fed3r' takes no gradient steps, so it trains no blocks"),
        ({"strategy": "fedpft"}, "'fedpft' takes no gradient steps, so it trains no blocks"),
        ({"strategy": "fedper"}, "shares all layers but the last"),
    ],
)
def test_strategies_that_train_no_blocks_say_so(changes: dict[str, Any], sentence: str) -> None:
    config = CONFIG.replace(**changes)
    with pytest.raises(UsageError, match=sentence):
        strategies.build(config, head_of(config, features=1, classes=2))


def test_two_ways_to_say_where_the_cut_is_are_refused() -> None:
    with pytest.raises(UsageError, match="both say where the backbone is cut"):
        cut_backbone(CONFIG.replace(train_from="body.2"))


def test_a_cut_that_leaves_the_head_alone_is_refused() -> None:
    config = RunConfig(backbone="resnet18", weights="random", train_from="fc")
    with pytest.raises(UsageError, match=r"from fc on but the head.*before layer4\.1 or earlier"):
        cut_backbone(config)


def test_what_is_below_must_fit_the_limit() -> None:
    backbone, _ = cut_backbone(CONFIG)
    size = 4 * backbone.feature_size * 1000
    check_room(CONFIG.replace(cache_limit=1.01 * size / 1e9), backbone, 1000, "image")
    with pytest.raises(
        UsageError, match=r"takes 408\.0 kB \(408 B for each of 1,000 images\), more"
    ):
        check_room(CONFIG.replace(cache_limit=0.99 * size / 1e9), backbone, 1000, "image")


def test_the_cut_is_in_the_fingerprint() -> None:
    found = {
        cut_backbone(CONFIG.replace(trainable_blocks=count))[0].fingerprint for count in (0, 1, 2)
    }
    assert len(found) == 3


def test_weights_that_are_first_read_in_inference_mode_can_be_trained() -> None:
    network = only_network(CONFIG.replace(trainable_blocks=0, train_from="body.2"))
    with torch.inference_mode():
        found = boundary_of(network)
    held = [*found.above.parameters(), *found.above.buffers()]
    assert held
    assert not any(one.is_inference() for one in held)
