"""What the server makes of the classes' names, with the half of the backbone that reads texts."""

from __future__ import annotations

from functools import lru_cache

from fedtl.config import RunConfig
from fedtl.transfer.backbones import text_tower_of
from fedtl.transfer.boundary import only_network
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


def give_texts(strategy: HeadStrategy, texts: ClassTexts | None) -> None:
    """Give a strategy, and the one that it starts from, what the classes' names make."""
    strategy.texts = texts
    if strategy.starter is not None:
        strategy.starter.texts = texts
