"""What the server makes of the classes' names, with the half of the backbone that reads texts."""

from __future__ import annotations

from functools import lru_cache

from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.preparation.site import Identity
from fedtl.transfer.backbones import text_tower_of
from fedtl.transfer.boundary import cut_backbone, only_network
from fedtl.transfer.heads import one_thread
from fedtl.transfer.text_tower import ClassTexts, class_texts
from strategies.base import HeadStrategy


def texts_of(config: RunConfig, classes: tuple[str, ...]) -> ClassTexts:
    """Return the vectors of the classes' names; what was read in this process is not read again.

    Args:
        config: The run's.
        classes: The names.

    Raises:
        UsageError: The backbone reads no texts, or the prompt has no place for a name.
        FedtlError: A download failed.
    """
    return _read(only_network(config), classes, config.prompt)


@lru_cache(maxsize=4)
def _read(network: RunConfig, classes: tuple[str, ...], prompt: str) -> ClassTexts:
    with one_thread():
        return class_texts(text_tower_of(network), classes, prompt)


def check_same(config: RunConfig, sites: Identity) -> None:
    """Refuse to set class names beside features of another backbone than the server's.

    Raises:
        FedtlError: The sites have another.
    """
    backbone, _ = cut_backbone(config)
    if backbone.fingerprint != sites.fingerprint:
        raise FedtlError(
            f"The server's backbone has fingerprint {backbone.fingerprint}, the sites' "
            f"{sites.fingerprint}; the vectors of class names would not lie beside the sites' "
            "features, so give the server the same backbone and weights."
        )


def give_texts(strategy: HeadStrategy, texts: ClassTexts | None) -> None:
    """Give a strategy, and the one that it starts from, what the classes' names make."""
    strategy.texts = texts
    if strategy.starter is not None:
        strategy.starter.texts = texts
