"""The lines of Python that make a network without fedtl."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How plain Python makes the network that the weights are loaded into.

    Attributes:
        needs: Packages that it imports, beside the standard library.
        imports: Lines.
        definitions: Classes and functions, as source.
        build: Lines; the last of them have assigned ``model``.
        files: Further files that lie beside the weights, by name.
        versioned: Whether the network takes only weights that say which version of it they are of,
            which a safetensors file cannot.
        called: How ``model`` gives logits of the tensors ``batch``.
        told: What differs from the network as its library makes it, a sentence each.
    """

    needs: tuple[str, ...]
    imports: tuple[str, ...]
    build: tuple[str, ...]
    definitions: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    versioned: bool = False
    called: str = "model(*batch)"
    told: tuple[str, ...] = ()


def sources(*objects: Any) -> str:
    """Return the source of classes and functions, one below the other."""
    return "\n\n\n".join(inspect.getsource(one).rstrip() for one in objects)


def constants(module: Any, *names: str) -> str:
    """Return assignments of a module's constants."""
    return "\n".join(f"{name} = {getattr(module, name)!r}" for name in names)


def call(function: str, *arguments: object, **named: object) -> str:
    """Return a call as Python writes it."""
    given: Sequence[str] = [*map(repr, arguments), *(f"{k}={v!r}" for k, v in named.items())]
    return f"{function}({', '.join(given)})"
