"""Federated strategies: one file per algorithm, both halves in it."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING

from fedtl.errors import UsageError

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.transfer.heads import Head
    from strategies.base import HeadStrategy


def available() -> list[str]:
    """Return the names that ``--strategy`` takes: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base")


def load(name: str) -> type[HeadStrategy]:
    """Return the strategy class called ``name``.

    Args:
        name: A file of this folder (``fedavg``), which names its class ``STRATEGY``, or
            ``module:Class`` for a class of the user's own, importable from where Python runs.

    Raises:
        UsageError: There is no such strategy, or it is not a whole :class:`HeadStrategy`.
    """
    from strategies.base import HeadStrategy

    module_name, _, class_name = name.partition(":")
    if not class_name:
        if name not in available():
            near = difflib.get_close_matches(name, available(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UsageError(
                f"strategy = {name!r} is not known{hint} "
                f"It is one of {', '.join(available())}, or module:Class of your own."
            )
        module_name, class_name = f"strategies.{name}", "STRATEGY"
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever the user's own module raises while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"strategy = {name!r} cannot be loaded: {reason}.") from error
    if not (isinstance(found, type) and issubclass(found, HeadStrategy)):
        raise UsageError(f"strategy = {name!r} is not a subclass of strategies.base.HeadStrategy.")
    if unwritten := ", ".join(sorted(found.__abstractmethods__)):
        raise UsageError(f"strategy = {name!r} does not define {unwritten}.")
    return found


def build(config: RunConfig, head: Head) -> HeadStrategy:
    """Return the configured strategy for a head of this form."""
    return load(config.strategy)(config, head)
