"""The frozen network that every client shares: one file for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fedtl.config_keys.data import AUTO
from fedtl.data.input_kinds import PICTURE, SOUND, TABLE_ROW, TEXT, kind_of
from fedtl.errors import UsageError
from fedtl.kinds import KINDS
from fedtl.transfer.backbones.base import DEFAULT, RANDOM, TINY, Backbone, Family
from fedtl.transfer.embeddings import embedding_fingerprint

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.data.schema import Schema
    from fedtl.transfer.text_tower import TextTower

__all__ = [
    "DEFAULT",
    "RANDOM",
    "TINY",
    "Backbone",
    "backbone_of",
    "check_kind",
    "embedding_fingerprint",
    "for_inputs",
    "load_backbone",
    "taken_for",
    "text_tower_of",
    "without_inputs",
]

_TAKEN = {PICTURE: TINY, TEXT: "wordllama", SOUND: "log-mel", TABLE_ROW: "tabular"}
_FOR = {
    PICTURE: "--backbone fedtl-tiny, or a network of torchvision",
    TEXT: "--backbone wordllama",
    SOUND: "--backbone log-mel",
    TABLE_ROW: "--backbone tabular",
}
_OTHERWISE_READ = {
    (TEXT, TABLE_ROW): "; or read rows as they are: --text-column none",
    (TABLE_ROW, TEXT): "; or name the column of the texts: --text-column NAME",
}


def for_inputs(config: RunConfig, inputs: object) -> RunConfig:
    """Return a configuration with what ``backbone`` = auto comes to, if the inputs need one.

    Args:
        config: The run.
        inputs: Its inputs.
    """
    taken = _TAKEN.get(kind_of(inputs))
    return config if config.backbone != AUTO or taken is None else config.replace(backbone=taken)


def taken_for(config: RunConfig, inputs: object) -> str:
    """Return a line that says which backbone was taken for inputs."""
    return f"backbone = {config.backbone}, as the data are {kind_of(inputs).name}"


def without_inputs(config: RunConfig) -> RunConfig:
    """Return a configuration with what ``backbone`` = auto is where nobody has seen all inputs.

    That is the one for pictures: what takes other inputs has to be named there.
    """
    return config.replace(backbone=TINY) if config.backbone == AUTO else config


def backbone_of(config: RunConfig, schema: Schema | None = None) -> Backbone:
    """Return the configured backbone, ready to run.

    Args:
        config: The run.
        schema: Of rows of a table, what all sites agreed on that columns are.

    Raises:
        UsageError: A name is unknown, the weights do not fit, or the size is impossible.
        FedtlError: A download failed.
    """
    family = _family_of(config)
    family.schema = schema
    return family.load()


def text_tower_of(config: RunConfig) -> TextTower:
    """Return the half of the configured backbone that reads texts.

    Raises:
        UsageError: It has none, or see :func:`backbone_of`.
        FedtlError: A download failed.
    """
    return _family_of(config).text_tower()


def _family_of(config: RunConfig) -> Family:
    config, kind = without_inputs(config), KINDS["backbone"]
    family = cast(type[Family], kind.load(config.backbone))
    return family(config, kind.found(config.backbone)[1])


def check_kind(backbone: Backbone, inputs: object, name: str) -> None:
    """Refuse inputs of another kind than the backbone takes.

    Args:
        backbone: The backbone.
        inputs: The inputs.
        name: What the data are called.

    Raises:
        UsageError: They are of another kind.
    """
    taken, given = backbone.preprocessing.kind, kind_of(inputs)
    if taken != given:
        raise UsageError(
            f"{name} holds {given.name}, but backbone = {backbone.name} takes {taken.name}; choose "
            f"another: {_FOR.get(given, 'module:Class of your own')}"
            f"{_OTHERWISE_READ.get((given, taken), '')}"
        )


def load_backbone(name: str, *, weights: str, image_size: int, seed: int) -> Backbone:
    """Return a backbone, ready to run.

    Args:
        name: ``fedtl-tiny`` or any torchvision classification architecture by its torchvision
            name; see :func:`fedtl.transfer.torchvision_models.cut` for where it is cut.
        weights: ``DEFAULT`` (what fedtl ships, or torchvision's best, which torchvision
            downloads), ``random``, the path of a PyTorch or safetensors file, whatever its suffix,
            or a member of the architecture's torchvision weights enum.
        image_size: Side of the pictures that the network sees, in pixels; 0 for the size that
            belongs to the weights.
        seed: Determines ``random`` weights; of no effect otherwise.

    Raises:
        UsageError: A name is unknown, the weights do not fit, or the size is impossible.
        FedtlError: A download failed.
    """
    from fedtl.config import RunConfig

    return backbone_of(
        RunConfig(backbone=name, weights=weights, image_size=image_size, data_seed=seed)
    )
