"""Commands that are functions, too: ``fedtl.simulate`` is a module, and can be called.

``python -m fedtl.simulate`` needs a module of this name, and ``from fedtl import simulate`` should
give the function: one object is both, in any order of imports.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module that calls the function of its name in :mod:`fedtl.api`."""

    def __call__(self, *arguments: Any, **keys: Any) -> Any:
        """Call the function."""
        return self._function(*arguments, **keys)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        api = importlib.import_module("fedtl.api")
        return getattr(api, self.__name__.rpartition(".")[2])


def make_callable(name: str) -> None:
    """Make a module callable; one that runs as a command is ``__main__`` and is not changed."""
    if name in sys.modules and name != "__main__":
        sys.modules[name].__class__ = CallableModule
