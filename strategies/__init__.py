"""Federated strategies: one file per algorithm, both halves in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedtl.config_key import nearest
from fedtl.errors import UsageError
from fedtl.kinds import KINDS, NO_START, ZERO_SHOT

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.transfer.heads import Head
    from strategies.base import ClosedFormStrategy, HeadStrategy


def available() -> tuple[str, ...]:
    """Return the names that ``--strategy`` takes: files of this folder, and what is installed.

    A distribution brings strategies by entry points of the group ``fedtl.strategies``.
    """
    return KINDS["strategy"].available()


def load(name: str) -> type[HeadStrategy]:
    """Return the strategy class called ``name``.

    Args:
        name: A file of this folder (``fedavg``), which names its class ``STRATEGY``, a name that
            an installed distribution brings, or ``module:Class`` for a class of the user's own,
            importable from where Python runs.

    Raises:
        UsageError: There is no such strategy, or it is not a whole :class:`HeadStrategy`.
    """
    return KINDS["strategy"].load(name)


def build(config: RunConfig, head: Head) -> HeadStrategy:
    """Return the configured strategy for a head of this form, with the one it starts from.

    Raises:
        UsageError: ``strategy`` or ``init`` names none, or they or the head do not go together.
    """
    from fedtl.transfer.client_block import takes_below
    from fedtl.transfer.heads import kept_back
    from strategies.base import IterativeStrategy

    found = load(config.strategy)
    if takes_below(head) and not issubclass(found, IterativeStrategy):
        raise UsageError(
            f"strategy = {config.strategy!r} takes no gradient steps, so it trains no blocks of "
            "the backbone; use trainable-blocks = 0 and no train-from, or an iterative strategy "
            "such as fedavg, which then starts from init = 'fed3r'."
        )
    strategy = found(config, head)
    if kept_back(head) and found.uplink is not IterativeStrategy.uplink:
        raise UsageError(
            f"adapter = {config.adapter!r} goes with strategies whose clients send their head and "
            f"nothing else, and those of strategy = {config.strategy!r} send more; use another "
            "adapter, or strategy = 'fedavg'."
        )
    if config.init not in NO_START:
        if config.init != ZERO_SHOT:
            _check_starter(config.init)
        _check_start(strategy)
        if config.init != ZERO_SHOT:
            strategy.starter = _starter(strategy)
    return strategy


def _starter(strategy: HeadStrategy) -> ClosedFormStrategy:
    """Return the closed form that ``init`` names."""
    from strategies.base import ClosedFormStrategy

    config, init = strategy.config, strategy.config.init
    found = load(init)(config.replace(strategy=init, init="none"), _top(strategy))
    assert isinstance(found, ClosedFormStrategy)
    return found


def _check_starter(init: str) -> None:
    """Refuse what is no closed form that asks clients once."""
    from strategies.base import ClosedFormStrategy

    closed = [name for name in available() if issubclass(load(name), ClosedFormStrategy)]
    starters = [name for name in closed if not load(name).own_start]
    wrong = ""
    if ":" not in init and init not in available():
        wrong = f"not known{nearest(init, starters)}"
    elif not issubclass(load(init), ClosedFormStrategy):
        wrong = "not a closed form."
    elif load(init).own_start:
        wrong = "a closed form that asks clients twice, and a start may ask once."
    if wrong:
        raise UsageError(
            f"init = {init!r} is {wrong} "
            f"It is one of {', '.join(starters)}, module:Class of your own, zero-shot, or none."
        )


def _check_start(strategy: HeadStrategy) -> None:
    """Refuse a start that the strategy or the head cannot make use of."""
    from fedtl.transfer.heads import LinearHead

    config, init = strategy.config, strategy.config.init
    if strategy.one_round:
        raise UsageError(
            f"init = {init!r} is where training starts, but strategy = {config.strategy!r} does "
            "not train in rounds; use init = 'none' or an iterative strategy such as fedavg."
        )
    if strategy.own_start:
        raise UsageError(
            f"init = {init!r} is where training starts, but strategy = {config.strategy!r} brings "
            "a start of its own; use init = 'none'."
        )
    if not isinstance(_top(strategy), LinearHead):
        raise UsageError(
            f"init = {init!r} gives a linear head, but head = {config.head!r}; use head = "
            "'linear' or init = 'none'."
        )


def _top(strategy: HeadStrategy) -> Head:
    """Return the form of the head, without the blocks below it."""
    top: Head = getattr(strategy.head, "top", strategy.head)
    return top
