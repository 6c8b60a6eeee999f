"""Federated strategies: one file per algorithm, both halves in it."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from contextlib import nullcontext
from functools import cache
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fedtl.config_key import nearest
from fedtl.errors import UsageError
from fedtl.fault import Fault
from fedtl.user_code import importing, refuse_barred

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.transfer.heads import Head
    from strategies.base import ClosedFormStrategy, HeadStrategy


@cache
def available() -> tuple[str, ...]:
    """Return the names that ``--strategy`` takes: files of this folder, and what is installed.

    A distribution brings strategies by entry points of the group ``fedtl.strategies``.
    """
    return tuple(sorted({*shipped(), *_installed()}))


@cache
def shipped() -> frozenset[str]:
    """Return the names of this folder's files."""
    ours = [__path__[0]]
    return frozenset(m.name for m in pkgutil.iter_modules(ours) if m.name != "base")


@cache
def _installed() -> dict[str, str]:
    """Return the names that other distributions bring, and the module:Class of each."""
    found = entry_points(group="fedtl.strategies")
    return {point.name: point.value for point in found if point.name not in shipped()}


def load(name: str) -> type[HeadStrategy]:
    """Return the strategy class called ``name``.

    Args:
        name: A file of this folder (``fedavg``), which names its class ``STRATEGY``, a name that
            an installed distribution brings, or ``module:Class`` for a class of the user's own,
            importable from where Python runs.

    Raises:
        UsageError: There is no such strategy, or it is not a whole :class:`HeadStrategy`.
    """
    from strategies.base import HeadStrategy

    module_name, _, class_name = name.partition(":")
    if not class_name:
        if name not in available():
            raise UsageError(
                f"strategy = {name!r} is not known{nearest(name, available())} "
                f"It is one of {', '.join(available())}, or module:Class of your own."
            )
        module_name, class_name = f"strategies.{name}", "STRATEGY"
        if name in _installed():
            module_name, _, class_name = _installed()[name].partition(":")
    try:
        with importing(name) if ":" in name else nullcontext():
            found = _found(module_name, class_name)
    except UsageError:
        raise
    except Exception as error:  # whatever the user's own module raises while it is imported
        reason = Fault.of(error).sentence
        raise UsageError(f"strategy = {name!r} cannot be loaded: {reason}.") from error
    if not (isinstance(found, type) and issubclass(found, HeadStrategy)):
        raise UsageError(f"strategy = {name!r} is not a subclass of strategies.base.HeadStrategy.")
    if unwritten := ", ".join(sorted(found.__abstractmethods__)):
        raise UsageError(f"strategy = {name!r} does not define {unwritten}.")
    return found


def _found(module_name: str, class_name: str) -> Any:
    """Return a class of a module; one of the user's own may be called ``strategies``, too."""
    if module_name == __name__ and class_name not in globals():
        return getattr(_theirs(), class_name)
    # Of two files of one name ours goes first: theirs may inherit from it.
    folders = [str(Path(entry or ".").absolute() / __name__) for entry in sys.path]
    __path__.extend(folder for folder in folders if folder not in __path__)
    return getattr(importlib.import_module(module_name), class_name)


def _theirs() -> ModuleType:
    """Return the user's own module that is called like this package."""
    for entry in sys.path:
        place = Path(entry or ".").absolute()
        for file in (place / __name__ / "__init__.py", place / f"{__name__}.py"):
            if file.is_file() and not file.samefile(__file__):
                refuse_barred(file)
                specification = spec_from_file_location("users_strategies", file)
                assert specification is not None and specification.loader is not None
                module = module_from_spec(specification)
                sys.modules[specification.name] = module
                specification.loader.exec_module(module)
                return module
    return sys.modules[__name__]


def build(config: RunConfig, head: Head) -> HeadStrategy:
    """Return the configured strategy for a head of this form, with the one it starts from.

    Raises:
        UsageError: ``strategy`` or ``init`` names none, or they or the head do not go together.
    """
    strategy = load(config.strategy)(config, head)
    if config.init != "none":
        strategy.starter = _starter(strategy)
    return strategy


def _starter(strategy: HeadStrategy) -> ClosedFormStrategy:
    """Return the closed form that ``init`` names."""
    from fedtl.transfer.heads import LinearHead
    from strategies.base import ClosedFormStrategy

    config = strategy.config
    init = config.init
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
            f"It is one of {', '.join(starters)}, module:Class of your own, or none."
        )
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
    if not isinstance(strategy.head, LinearHead):
        raise UsageError(
            f"init = {init!r} gives a linear head, but head = {config.head!r}; use head = "
            "'linear' or init = 'none'."
        )
    found = load(init)(config.replace(strategy=init, init="none"), strategy.head)
    assert isinstance(found, ClosedFormStrategy)
    return found
