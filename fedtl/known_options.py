"""Which options there are: those of a strategy that is named, and those of all that are shipped."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from fedtl.config_key import Scalar
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.options import Option, declared


@dataclass(frozen=True)
class Known:
    """A shipped option.

    Attributes:
        option: What it is.
        owners: The strategies that read it.
    """

    option: Option
    owners: tuple[str, ...]


def options_of(*names: str) -> dict[str, Option]:
    """Return the options of strategies, as ``--strategy`` takes them, by key.

    A name that is no strategy has none; it is refused where the strategy is built.

    Raises:
        UsageError: A user's own strategy cannot be loaded, or declares a key that every run has.
    """
    found: dict[str, Option] = {}
    for name in names:
        if ":" not in name and name not in available_strategies():
            continue
        found |= _of_file(name) if name in _registry().shipped() else _declared(name)
    return found


@cache
def _of_file(name: str) -> dict[str, Option]:
    return _declared(name)


def _declared(name: str) -> dict[str, Option]:
    found = declared(load_strategy(name))
    if hidden := next(iter(found.keys() & rules().keys()), ""):
        raise UsageError(
            f"strategy = {name!r} declares the option {hidden}, which every run has; give its "
            "Options a prefix."
        )
    return found


def load_strategy(name: str) -> type:
    """Return the class of a strategy, as ``--strategy`` takes it.

    Raises:
        UsageError: There is none of this name, or it cannot be loaded.
    """
    found: type = _registry().load(name)
    return found


def available_strategies() -> tuple[str, ...]:
    """Return the names that ``--strategy`` takes."""
    found: tuple[str, ...] = _registry().available()
    return found


@cache
def shipped_options() -> dict[str, Known]:
    """Return the options of all strategies that are shipped, by key; not of what others install."""
    found: dict[str, Known] = {}
    for name in sorted(_registry().shipped()):
        for key, option in options_of(name).items():
            owners = found[key].owners if key in found else ()
            found[key] = Known(option, (*owners, name))
    return found


def defaults_of(key: str, names: Iterable[str]) -> set[Scalar]:
    """Return what strategies that are named, and declare an option, have for its default."""
    declaring = (options_of(name) for name in names)
    return {options[key].default for options in declaring if key in options}


def find_option(key: str, names: Iterable[str]) -> Option | None:
    """Return the option of a key: of the strategies that are named, or else of a shipped one."""
    known = options_of(*names)
    if key in known:
        return known[key]
    shipped = shipped_options().get(key)
    return None if shipped is None else shipped.option


def _registry() -> Any:
    # By name: the strategies' package imports the configuration.
    return importlib.import_module("strategies")
