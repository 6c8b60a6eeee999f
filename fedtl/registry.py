"""The one place that imports by name: what lies in a package, and what others install."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from fedtl.errors import UsageError
from fedtl.user_code import refuse_barred


@cache
def files(package: str) -> frozenset[str]:
    """Return the names of a package's files of ours, as keys spell them."""
    specification = importlib.util.find_spec(package)
    assert specification is not None and specification.submodule_search_locations is not None
    # A package of this name may have been given folders of the user's.
    ours = list(specification.submodule_search_locations)[:1]
    names = (module.name for module in pkgutil.iter_modules(ours))
    return frozenset(name.replace("_", "-") for name in names if name != "base")


@cache
def points(group: str) -> dict[str, str]:
    """Return the entry points of a group: the module:Class of each name."""
    return {point.name: point.value for point in entry_points(group=group)}


def forget() -> None:
    """Look again for what is there and what is installed."""
    files.cache_clear()
    points.cache_clear()


def imported(module: str, attribute: str, package: str) -> Any:
    """Return a class of a module; one of the user's own may be called like our package.

    Args:
        module: The module.
        attribute: The class.
        package: Ours, in which such classes lie.
    """
    ours = sys.modules.get(package)
    if module == package and "." not in package and not hasattr(ours, attribute):
        return getattr(_theirs(package), attribute)
    if "." not in package and module not in sys.modules:
        # Of two files of one name ours goes first: theirs may inherit from it.
        path = importlib.import_module(package).__path__
        path.extend(folder for folder in _like(package) if folder not in path)
    return getattr(importlib.import_module(module), attribute)


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


def _like(package: str) -> Iterator[str]:
    return (str(Path(entry).absolute() / package) for entry in sys.path)


def _theirs(package: str) -> ModuleType:
    """Return the user's own module that is called like a package of ours."""
    ours = importlib.import_module(package)
    for folder in _like(package):
        for file in (Path(folder) / "__init__.py", Path(f"{folder}.py")):
            if file.is_file() and not file.samefile(str(ours.__file__)):
                refuse_barred(file)
                specification = importlib.util.spec_from_file_location(f"users_{package}", file)
                assert specification is not None and specification.loader is not None
                module = importlib.util.module_from_spec(specification)
                sys.modules[specification.name] = module
                specification.loader.exec_module(module)
                return module
    return ours
