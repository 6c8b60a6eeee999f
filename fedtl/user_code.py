"""Whose code runs: classes that a configuration names, and modules in the working directory.

``python -m`` looks for every module in the working directory first. A folder's ``json.py`` or
``strategies`` would run unasked, so ``fedtl/__init__.py`` takes that directory off the path. It is
put back for a ``module:Class`` that the user names, and for no other. If a folder that may come
from somebody else names one (``--resume``, ``predict``), code in that folder or in the working
directory is refused unless the user vouches for it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from fedtl.errors import UsageError

# What Python calls folders of installed packages, those of a user among them.
_SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})

_OF_FEDTL = tuple(Path(__file__).resolve().parents[1] / name for name in ("fedtl", "strategies"))
# Packages that the user's own classes are of, wherever they are installed.
_named: set[str] = set()


class _Barred:
    """Folders whose code must not run, and the option that allows it; of models likewise."""

    folders: tuple[Path, ...] = ()
    remedy = ""
    models = ""


def bar(folder: Path, remedy: str) -> None:
    """Refuse, from now on, classes whose code lies in a folder or in the working directory.

    Args:
        folder: A folder that may come from somebody else.
        remedy: The option that lets such code run, for messages.
    """
    named = folder.expanduser()
    folders = (named.absolute(), named.resolve(), Path.cwd())
    _Barred.folders = tuple(dict.fromkeys(folders))
    _Barred.remedy = remedy


def bar_models(remedy: str) -> None:
    """Refuse, from now on, Python that a model brings, wherever it lies.

    Args:
        remedy: The option that lets it run, for messages.
    """
    _Barred.models = remedy


def unbar() -> None:
    """Let classes run from any folder, and models' own Python: the user has named them."""
    _Barred.folders, _Barred.models = (), ""


def is_there(module: str) -> bool:
    """Return whether Python would find a module in the working directory, without importing it."""
    import fedtl

    places = [str(folder) for folder in _Barred.folders]
    if fedtl.launch_folder:
        places.append(fedtl.launch_folder)
    return module in sys.modules or PathFinder.find_spec(module, [*sys.path, *places]) is not None


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Within this block, a class that a configuration names may be imported.

    Args:
        name: ``module:Class``.

    Raises:
        UsageError: Its code, or code that it imports, lies in a folder that is barred.
    """
    _named.add(name.partition(":")[0].partition(".")[0])
    if not _Barred.folders:
        _restore_working_folder()
        yield
        return
    guard = _Guard(name.partition(":")[0].partition(".")[0])
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)


def is_own(file: str, module: str) -> bool:
    """Return whether code is the user's own: neither fedtl's nor installed.

    Args:
        file: As its frames name it.
        module: Its module; of an installed package, the user's own is what a configuration names.
    """
    if file.startswith("<"):  # compiled from no file
        return False
    places = (Path(os.path.abspath(file)), Path(file).resolve())  # noqa: PTH100 - links kept
    if any(place.is_relative_to(folder) for place in places for folder in _OF_FEDTL):
        return False
    if module.partition(".")[0] in _named:
        return True
    installed = any(place.is_relative_to(folder) for place in places for folder in _installed())
    return not installed and not _SITE_FOLDERS.intersection(places[0].parts)


def _restore_working_folder() -> None:
    import fedtl

    if fedtl.launch_folder and fedtl.launch_folder not in sys.path:
        sys.path.insert(0, fedtl.launch_folder)


class _Guard(MetaPathFinder):
    """Finds nothing, and refuses modules that Python would find in a barred folder.

    Args:
        named: The package or module that a configuration names: it may be meant to lie there.
    """

    def __init__(self, named: str) -> None:
        self._named = named

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`.

        Raises:
            UsageError: The module lies in a barred folder.
        """
        found = PathFinder.find_spec(name, path)
        if found is None and name == self._named:
            found = PathFinder.find_spec(name, [str(folder) for folder in _Barred.folders])
        if found is not None and found.origin is not None and found.has_location:
            refuse_barred(Path(found.origin))
        return None


def refuse_barred(file: Path) -> None:
    """Refuse code that lies in a barred folder.

    Raises:
        UsageError: It does.
    """
    folder = _barred_folder(file)
    if folder is not None:
        raise UsageError(
            f"{file} is code in {folder}, which somebody may have sent; it is not run unless you "
            f"say so: {_Barred.remedy}."
        )


def refuse_barred_model(where: str) -> None:
    """Refuse Python that a model brings, if such is barred.

    Raises:
        UsageError: It is.
    """
    if _Barred.models:
        raise UsageError(
            f"The run's folder, which somebody may have sent, asks that the Python run that "
            f"{where} brings (trust-remote-code); it is not run unless you say so: "
            f"{_Barred.models}."
        )


def _barred_folder(origin: Path) -> Path | None:
    """Return the barred folder that holds a file; ``None`` if it is installed or elsewhere."""
    for file in (Path(os.path.abspath(origin)), origin.resolve()):  # noqa: PTH100 - links kept
        if any(file.is_relative_to(place) for place in _installed()):
            continue
        for folder in _Barred.folders:
            if file.is_relative_to(folder):
                return folder
    return None


@cache
def _installed() -> tuple[Path, ...]:
    """Return folders of installed code, which may be in the working directory (``.venv``)."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return (*_OF_FEDTL, *(Path(sysconfig.get_path(kind)) for kind in kinds))
