"""Classifier heads: one file for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fedtl.config_key import Scalar, kebab
from fedtl.kinds import KINDS
from fedtl.options import declared
from fedtl.transfer.heads.base import (
    Arrays,
    BaseHead,
    Given,
    Head,
    Tensors,
    in_round,
    kept_back,
    one_thread,
    settled,
    summable,
)
from fedtl.transfer.heads.cosine import CosineHead
from fedtl.transfer.heads.linear import LinearHead
from fedtl.transfer.heads.mlp import MLPHead

if TYPE_CHECKING:
    from fedtl.config import RunConfig

__all__ = [
    "Arrays",
    "CosineHead",
    "Head",
    "LinearHead",
    "MLPHead",
    "Tensors",
    "build_head",
    "head_of",
    "in_round",
    "kept_back",
    "one_thread",
    "settled",
    "summable",
]


def head_of(config: RunConfig, *, features: int, classes: int) -> Head:
    """Return the form of the configured head for d features and K classes.

    Blocks of the backbone that are trained are part of it.

    Raises:
        UsageError: There is no such head.
    """
    found = cast(type[BaseHead], KINDS["head"].load(config.head))
    own = declared(found)
    given = Given(tuple(one for one in config.options if one[0] in own))
    head = found(features, classes, given)
    if not config.trains_blocks:
        return head
    from fedtl.transfer.adapted_blocks import AdaptedBlocks
    from fedtl.transfer.boundary import only_network
    from fedtl.transfer.trained_blocks import TrainedBlocks

    network, rate = only_network(config), config.blocks_rate
    rounds = config.most_rounds if config.blocks_decay == "cosine" else 0
    if config.adapter == "none":
        return TrainedBlocks(head, network, rate, rounds)
    return AdaptedBlocks(head, network, rate, rounds, config.adapter, config.rank, config.seed)


def build_head(kind: str, *, features: int, classes: int, **options: Scalar) -> Head:
    """Return the head of a kind, ``linear``, ``mlp`` or ``cosine``, for d features, K classes.

    Args:
        kind: As ``--head`` takes it.
        features: Number of features, d.
        classes: Number of classes, K.
        options: Options by Python name, such as ``hidden_units``; others than its own are left.
    """
    found = cast(type[BaseHead], KINDS["head"].load(kind))
    given = ((kebab(name), value) for name, value in sorted(options.items()))
    own = declared(found)
    return found(features, classes, Given(tuple(one for one in given if one[0] in own)))
