"""Which options there are: those of a strategy that is named, and those of all that are shipped."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

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
        if ":" not in name and name not in _registry().available():
            continue
        part = _registry().load(name)
        for key, option in declared(part).items():
            if key in rules():
                raise UsageError(
                    f"strategy = {name!r} declares the option {key}, which every run has; give its "
                    "Options a prefix."
                )
            found[key] = option
    return found


def check_strategy(name: str) -> None:
    """Refuse a strategy that there is not.

    Raises:
        UsageError: There is none of this name.
    """
    _registry().load(name)


@cache
def shipped_options() -> dict[str, Known]:
    """Return the options of all strategies that are shipped, by key."""
    found: dict[str, Known] = {}
    for name in _registry().available():
        for key, option in options_of(name).items():
            owners = found[key].owners if key in found else ()
            found[key] = Known(option, (*owners, name))
    return found


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
