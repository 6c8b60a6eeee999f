"""The licence of a backbone's weights, where it is known."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.config import RunConfig
from fedtl.kinds import KINDS
from fedtl.registry import needed
from fedtl.transfer.backbones import DEFAULT, RANDOM
from fedtl.transfer.backbones.base import is_weights_file


@dataclass(frozen=True)
class Licence:
    """A licence.

    Attributes:
        identifier: As Hugging Face's model cards name it; ``"other"`` or ``"unknown"`` else.
        told: What is known, a sentence.
    """

    identifier: str
    told: str


UNKNOWN = Licence("unknown", "The licence of the weights is unknown: ask whoever made them.")
_OF_FEDTL = Licence("apache-2.0", "The network and its weights are fedtl's, under Apache-2.0.")
_OF_TORCHVISION = Licence(
    "other",
    "torchvision's code is under BSD-3-Clause; it says of its weights that they may have terms of "
    "their own, derived from what they were trained on (ImageNet's pictures are for "
    "non-commercial research).",
)


OF_EMBEDDINGS = Licence(
    "unknown",
    "The embeddings were made before the run, and the licence of the network that made them is "
    "unknown: ask whoever did.",
)


def licence_of(config: RunConfig) -> Licence:
    """Return the licence of the weights of the backbone that a run computed features with."""
    family, argument = KINDS["backbone"].found(config.backbone)
    if family == "wordllama":
        return Licence("mit", "WordLlama's word vectors are under the MIT licence.")
    if family == "log-mel":
        return Licence("apache-2.0", "Nothing in the network was learnt from data of others.")
    if config.weights == RANDOM:
        return Licence("apache-2.0", "The network's weights are random numbers of the run's seed.")
    if is_weights_file(config.weights):
        return UNKNOWN
    if family == "fedtl-tiny":
        return _OF_FEDTL
    if family == "torchvision":
        return _OF_TORCHVISION
    if family == "timm" and config.weights == DEFAULT:
        timm = needed("timm", extra="timm", by=f"backbone = {config.backbone}")
        said = str(getattr(timm.get_pretrained_cfg(argument), "license", None) or "")
        if said:
            return Licence(said.lower(), f"timm says that the weights are under {said}.")
    return UNKNOWN
