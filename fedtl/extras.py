"""Packages that only some users need: asked for in a sentence where they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from fedtl.errors import UsageError


def needed(module: str, *, extra: str, by: str) -> ModuleType:
    """Return a module of a package that an extra of fedtl installs.

    Args:
        module: Its name.
        extra: Of which extra it is part.
        by: What needs it, for the message.

    Raises:
        UsageError: It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        lacking = (error.name or module).partition(".")[0]
        if lacking == "fedtl":
            raise
        raise UsageError(
            f"{by} needs the package {lacking}, which is not installed: "
            f"pip install 'fedtl[{extra}]'"
        ) from None
