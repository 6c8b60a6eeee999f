"""Python that a model of transformers brings: which files, which classes, and what has run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fedtl.errors import UsageError

# Where transformers imports it from, whatever the model's folder is called.
_IMPORTED = "transformers_modules"
# Between the name of another repository, and a class of the Python there.
_ELSEWHERE = "--"


def code_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every .py file in a model's folder, by its path there."""
    return {
        file.relative_to(folder).as_posix(): _digest(file)
        for file in sorted(folder.rglob("*.py"))
        if file.is_file()
    }


def refuse_elsewhere(where: str, named: Mapping[str, Any]) -> None:
    """Refuse Python of another repository than the model's, which could change unseen.

    Args:
        where: The model's folder or name.
        named: What files of the model name as classes of its own, by the file.

    Raises:
        UsageError: It has some.
    """
    for file, classes in named.items():
        for one in _texts(classes):
            other, elsewhere, _ = one.rpartition(_ELSEWHERE)
            if elsewhere and other != where:
                raise UsageError(
                    f"{where} takes its Python from another repository, {other}; put its .py files "
                    f"into the model's folder, and leave {other}{_ELSEWHERE} out of {file}."
                )


def code_run(loaded: Any) -> frozenset[str]:
    """Return the SHA-256 of Python that models bring, and of which something is made.

    Once imported, transformers takes such a class for every model that seems to be of its kind.

    Args:
        loaded: A network, a configuration or the like, or a tuple of some.
    """
    parts = loaded if isinstance(loaded, tuple) else (loaded,)
    kinds = {type(part) for part in parts}
    kinds |= {type(one) for part in parts if isinstance(part, nn.Module) for one in part.modules()}
    brought = [kind for kind in kinds if kind.__module__.partition(".")[0] == _IMPORTED]
    folders = {Path(inspect.getfile(kind)).parent for kind in brought}
    files = (file for folder in folders for file in folder.glob("*.py"))
    # transformers makes an empty file of a package itself.
    return frozenset(_digest(file) for file in files if file.stat().st_size)


def without_places(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose own classes are named without the repository they came from."""
    named = configuration.get("auto_map")
    if not isinstance(named, dict):
        return configuration
    own = {key: [one.rpartition(_ELSEWHERE)[2] for one in _texts(n)] for key, n in named.items()}
    return {**configuration, "auto_map": own}


def _texts(named: Any) -> Iterator[str]:
    """Yield what is named: a text, or some of them, by what they are for."""
    if isinstance(named, str):
        yield named
    elif isinstance(named, dict | list):
        for one in named.values() if isinstance(named, dict) else named:
            yield from _texts(one)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
