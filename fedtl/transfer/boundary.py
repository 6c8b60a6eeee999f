"""A backbone cut at a frozen boundary: below it features are made once, above it is trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.kinds import KINDS
from fedtl.options import declared
from fedtl.transfer.backbones import backbone_of, without_inputs
from fedtl.transfer.backbones.base import Backbone, example_batch
from fedtl.transfer.linear_layers import linear_layer
from fedtl.transfer.network_cut import INPUT, Cuttable, Halves
from fedtl.transfer.text_preparation import TextPreparation
from fedtl.wording import byte_size, count_of

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.data.schema import Schema

_FLOAT_BYTES = 4
# By network, the latest ones: what is below a cut is not kept.
_FOUND: dict[RunConfig, Boundary] = {}
_MOST_FOUND = 2


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where a backbone is cut.

    Attributes:
        shape: Of what crosses the cut, for one input: ``(channels, height, width)``, for example.
        above: What is trained: from ``(n, *shape)`` to ``(n, d)``.
        fingerprint: Of the backbone with its cut.
    """

    shape: tuple[int, ...]
    above: nn.Module
    fingerprint: str
    _moved: dict[torch.device, dict[str, Tensor]] = field(default_factory=dict)

    def constants_on(self, device: torch.device) -> dict[str, Tensor]:
        """Return what is above the cut and not trained, such as statistics, on a device."""
        if device not in self._moved:
            held = self.above.named_buffers()
            self._moved[device] = {name: value.to(device) for name, value in held}
        return self._moved[device]

    @property
    def size(self) -> int:
        """How many numbers cross the cut for one input, D."""
        return int(torch.Size(self.shape).numel())


class Rows(nn.Module):
    """From inputs to rows of two parts: what crosses a cut, flat, and the frozen features.

    Args:
        halves: The network.
    """

    def __init__(self, halves: Halves) -> None:
        super().__init__()
        self.below, self.above = halves.below, halves.above

    def forward(self, *batch: Tensor) -> Tensor:
        """Return shape ``(n, D + d)``."""
        crossing: Tensor = self.below(*batch)
        # A copy, as what is above may change in place what it is given.
        return torch.cat([crossing.flatten(1), self.above(crossing.clone())], 1)


def cut_backbone(
    config: RunConfig, schema: Schema | None = None
) -> tuple[Backbone, Boundary | None]:
    """Return the configured backbone, and where it is cut; ``None`` if nothing of it is trained.

    The features of a cut backbone are rows of D + d numbers; see :class:`Rows`.

    Args:
        config: The run.
        schema: Of rows of a table, what their columns are.

    Raises:
        UsageError: It cannot be cut there, or see :func:`backbone_of`.
        FedtlError: A download failed.
    """
    # Where nothing is trained, weights would be made that never can be.
    with torch.inference_mode(False):
        backbone = backbone_of(config, schema)
    if not config.trains_blocks:
        return backbone, None
    if schema is not None:
        raise UsageError(
            f"backbone = {config.backbone} has no blocks to train; use trainable-blocks = 0 and no "
            "train-from."
        )
    if config.trainable_blocks and config.train_from:
        raise UsageError(
            f"trainable-blocks = {config.trainable_blocks} and train-from = "
            f"{config.train_from!r} both say where the backbone is cut; leave one of them out."
        )
    backbone, padding = _of_one_shape(backbone)
    example = example_batch(backbone.preprocessing)
    network = Cuttable(backbone.network, backbone.name, example)
    halves = (
        network.before(config.train_from)
        if config.train_from
        else network.before_last(config.trainable_blocks)
    )
    if not any(True for _ in halves.above.parameters()):
        last = next(reversed(network.blocks), "")
        earlier = f"cut {backbone.name} before {last} or earlier, or " if last else ""
        raise UsageError(
            f"Nothing is left to train from {halves.name} on but the head, which is trained "
            f"anyway; {earlier}leave train-from out."
        )
    with torch.inference_mode():
        crossing = halves.below(*example)
    if not crossing.is_floating_point():
        fewer = "train fewer blocks, or " if len(network.blocks) > 1 else ""
        raise UsageError(
            f"{backbone.name} cannot be cut before {halves.name}: tokens pass there, which nothing "
            f"can be trained from; {fewer}use trainable-blocks = 0."
        )
    identity = hashlib.sha256(f"{backbone.fingerprint}\ncut before {halves.name}".encode())
    boundary = Boundary(tuple(crossing.shape[1:]), halves.above, identity.hexdigest())
    told = _told(config, halves, boundary, backbone.feature_size)
    _FOUND[only_network(config)] = boundary
    for oldest in list(_FOUND)[:-_MOST_FOUND]:
        _FOUND.pop(oldest, None)
    cut = replace(
        backbone,
        network=Rows(halves).eval().requires_grad_(False),
        feature_size=boundary.size + backbone.feature_size,
        boundary_size=boundary.size,
        fingerprint=boundary.fingerprint,
        told=_sentences(backbone.told, told, padding),
    )
    return cut, boundary


def _of_one_shape(backbone: Backbone) -> tuple[Backbone, str]:
    """Return a backbone whose inputs all have one shape, and what is done for that, as a sentence.

    Raises:
        UsageError: They have none.
    """
    preparation = backbone.preprocessing
    if isinstance(preparation, TextPreparation):
        told = f"All texts are padded to {preparation.longest:,} tokens for that (max-length)."
        return replace(backbone, preprocessing=replace(preparation, filled=True)), told
    if not preparation.one_shape:
        raise UsageError(
            f"{backbone.name} cannot be cut into blocks, as what it takes differs in length; use "
            "trainable-blocks = 0, or a network for pictures or texts."
        )
    return backbone, ""


def boundary_of(network: RunConfig) -> Boundary:
    """Return where a backbone is cut; one that was cut in this process is not loaded again.

    Args:
        network: See :func:`only_network`.

    Raises:
        UsageError: See :func:`cut_backbone`.
    """
    found = _FOUND.get(network)
    if found is None:
        _, found = cut_backbone(network)
        assert found is not None
    return found


def only_network(config: RunConfig) -> RunConfig:
    """Return a configuration of which nothing is left but what a cut network depends on."""
    from fedtl.config import RunConfig

    config = without_inputs(config)
    own = declared(KINDS["backbone"].load(config.backbone))
    return RunConfig(
        options=tuple((key, value) for key, value in config.options if key in own),
        backbone=config.backbone,
        weights=config.weights,
        image_size=config.image_size,
        seed=config.inputs_seed,
        trainable_blocks=config.trainable_blocks,
        train_from=config.train_from,
    )


def inputs_fitting(config: RunConfig, backbone: Backbone) -> int:
    """Return of how many inputs what crosses a backbone's cut fits ``cache-limit``."""
    return int(config.cache_limit * 1e9 / (backbone.feature_size * _FLOAT_BYTES))


def check_room(config: RunConfig, backbone: Backbone, inputs: int, unit: str) -> str:
    """Return how much room features take, in words.

    Args:
        config: The run.
        backbone: With its cut.
        inputs: How many inputs there are.
        unit: What one of them is called.

    Raises:
        UsageError: It is more than ``cache-limit``.
    """
    size = inputs * backbone.feature_size * _FLOAT_BYTES
    if inputs > inputs_fitting(config, backbone):
        each = backbone.feature_size * _FLOAT_BYTES
        raise UsageError(
            f"What is below the trained blocks takes {byte_size(size)} ({byte_size(each)} for "
            f"each of {inputs:,} {unit}s), more than cache-limit = {config.cache_limit:g} GB; "
            "train fewer blocks, use a smaller image-size or fewer views, or raise the limit."
        )
    return f"what is below the trained blocks takes {size / 1e6:,.0f} MB"


def _told(config: RunConfig, halves: Halves, boundary: Boundary, features: int) -> str:
    """Return what a user should know of a cut, a sentence or two."""
    where = "all of it" if halves.name == INPUT else f"from {halves.name} on"
    trained = f"{_counted(halves.blocks)}, {_trained(config, halves.above)}"
    parts = list(halves.above.modules())
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in parts):
        trained += "; statistics of batch normalisation stay as they are"
    if any(isinstance(part, nn.modules.dropout._DropoutNd) and part.p for part in parts):
        trained += "; nothing is dropped out"
    each = (boundary.size + features) * _FLOAT_BYTES / 1e3
    return (
        f"The backbone is trained {where} ({trained}); what is below is kept for each input: "
        f"{' x '.join(map(str, boundary.shape))} numbers, {each:,.0f} kB. Clients "
        f"train {count_of(config.epochs, 'epoch')} a round. Local-only and centralised heads are "
        "linear ones on features of the frozen backbone."
    )


def _trained(config: RunConfig, above: nn.Module) -> str:
    """Return what of the blocks is trained, in words."""
    weights = list(above.parameters())
    if config.adapter == "none":
        return f"{sum(weight.numel() for weight in weights):,} numbers"
    layers = [of for part in above.modules() if (of := linear_layer(part)) is not None]
    sides = sum(of.outputs + (0 if config.adapter == "ffa" else of.inputs) for of in layers)
    matrices = sum(weight.dim() > 1 for weight in weights)
    return (
        f"by {config.adapter} adapters of rank {config.rank} alone, on {len(layers):,} of "
        f"{matrices:,} matrices, {sides * config.rank:,} numbers"
    )


def _sentences(*told: str) -> str:
    return " ".join(f"{one.removesuffix('.')}." for one in told if one)


def _counted(blocks: int) -> str:
    return f"{blocks} block{'s' if blocks != 1 else ''}"
