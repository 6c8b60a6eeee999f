"""The kinds of part that a run chooses, and where each part is found.

A part is a file of fedtl's own, a name that an installed distribution brings by an entry point, or
``module:Class`` for a class of the user's own, importable from where Python runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

from fedtl.config_key import nearest
from fedtl.errors import UsageError
from fedtl.fault import Fault
from fedtl.registry import files, imported, points
from fedtl.user_code import importing, is_there

_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
NO_PART = {"partition": "auto", "backbone": "auto", "attack": "none", "init": "none"}
"""What stands for no part, or for one that is settled later."""


ZERO_SHOT = "zero-shot"
"""Value of ``init`` for the head that the classes' names make."""

NO_START = ("none", "auto")
"""Values of ``init`` that name no start: the second is settled later."""

NO_STARTER = (*NO_START, ZERO_SHOT)
"""Values of ``init`` that name no strategy."""


@dataclass(frozen=True)
class Kind:
    """One kind of part.

    Attributes:
        key: The key that chooses one.
        group: Entry points of installed distributions.
        package: Ours: a file each.
        constant: What each of these files calls its class.
        base: What every one of them is, ``module:Class``.
        with_argument: Names of ours that take an argument after a colon, and what that is.
        otherwise: The one of ours that takes every value that no other takes, as a whole.
        by_suffix: The one of ours that takes files with a suffix, as a whole.
        paths: Whether that may be a path.
        only: Names of ours, if other files lie in the package as well.
    """

    key: str
    group: str
    package: str
    constant: str
    base: str
    with_argument: Mapping[str, str] = field(default_factory=dict, compare=False)
    otherwise: str = ""
    by_suffix: Mapping[str, str] = field(default_factory=dict, compare=False)
    only: frozenset[str] = frozenset()
    paths: bool = False

    def shipped(self) -> frozenset[str]:
        """Return the names of ours."""
        return self.only or files(self.package) - self.by_place()

    def by_place(self) -> frozenset[str]:
        """Return the names of ours that take a folder or a file, as a whole."""
        return frozenset({self.otherwise, *self.by_suffix.values()} - {""})

    def installed(self) -> Mapping[str, str]:
        """Return the names that other distributions bring, and the module:Class of each."""
        found = points(self.group)
        return {name: value for name, value in found.items() if name not in self.shipped()}

    def available(self) -> tuple[str, ...]:
        """Return every name but those of a user's own classes."""
        return tuple(sorted({*self.shipped(), *self.installed()}))

    def found(self, value: str) -> tuple[str, str]:
        """Return what a value names, a name or ``module:Class``, and the argument that it hands on.

        A folder or file that exists goes before a class, and both go before ``otherwise``.

        Raises:
            UsageError: It names nothing, or two things.
        """
        name, colon, argument = value.partition(":")
        if name.replace("_", "-") in self.with_argument:
            name = name.replace("_", "-")  # as their packages are spelled
        there = self.paths and os.path.lexists(value)
        if name in self.installed():
            if there:
                raise UsageError(
                    f"{self.key} = {value!r} is a name that is installed and a file or folder "
                    f"here; write ./{value} for what is here, or {name}: for what is installed."
                )
            return name, argument
        if name in self.shipped() and (name in self.with_argument) == bool(colon):
            return name, argument
        for suffix, source in self.by_suffix.items():
            if value.lower().endswith(suffix) and not os.path.isdir(value):  # noqa: PTH112
                return source, value
        if name in self.by_suffix.values() and not there:
            return name, argument
        if self.otherwise:
            own = _CLASS.fullmatch(value) and not there and is_there(name.partition(".")[0])
            return (value, "") if own else (self.otherwise, value)
        if colon and name not in self.shipped():
            return value, ""
        known = [name for name in self.available() if name not in self.with_argument]
        known += [f"{name}:{what}" for name, what in self.with_argument.items()]
        known += filter(None, [NO_PART.get(self.key, "")])
        raise UsageError(
            f"{self.key} = {value!r} is not known{nearest(value, known)} "
            f"It is one of {', '.join(known)}, or module:Class of your own."
        )

    def load(self, value: str) -> type:
        """Return the class that a value names.

        Raises:
            UsageError: There is none, it cannot be loaded, or it is not whole.
        """
        name, _ = self.found(value)
        own = ":" in name
        module, _, attribute = f"{self.package}.{name.replace('-', '_')}", "", self.constant
        if own or name in self.installed():
            module, _, attribute = self.installed().get(name, name).partition(":")
        try:
            with importing(name) if own else nullcontext():
                found = imported(module, attribute, self.package)
        except UsageError:
            raise
        except Exception as error:  # whatever the user's own module raises while it is imported
            reason = Fault.of(error).sentence
            raise UsageError(f"{self.key} = {value!r} cannot be loaded: {reason}.") from error
        where, _, root = self.base.partition(":")
        base = imported(where, root, self.package)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise UsageError(
                f"{self.key} = {value!r} is not a subclass of {self.base.replace(':', '.')}."
            )
        if unwritten := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
            raise UsageError(f"{self.key} = {value!r} does not define {unwritten}.")
        return found


TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq")
"""Suffixes of tables."""

# In the order in which options are looked up: what needs no PyTorch comes first.
KINDS: Mapping[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind(
            "data",
            "fedtl.sources",
            "fedtl.data.sources",
            "SOURCE",
            "fedtl.data.sources.base:Source",
            {"features": "FILE.npz", "medmnist": "NAME", "torchvision": "NAME"},
            otherwise="folder",
            by_suffix=dict.fromkeys(TABLES, "table"),
            paths=True,
        ),
        Kind(
            "partition",
            "fedtl.partitions",
            "fedtl.data.partitions",
            "PARTITION",
            "fedtl.data.partitions.base:Partition",
            {"file": "PARTS.json"},
        ),
        Kind("attack", "fedtl.attacks", "fedtl.attacks", "ATTACK", "fedtl.attacks.base:Attack"),
        Kind(
            "track",
            "fedtl.observers",
            "fedtl.observers",
            "OBSERVER",
            "fedtl.observers.observer:Observer",
            only=frozenset({"tensorboard", "mlflow"}),
        ),
        Kind(
            "backbone",
            "fedtl.backbones",
            "fedtl.transfer.backbones",
            "BACKBONE",
            "fedtl.transfer.backbones.base:Family",
            {"hf": "FOLDER_OR_NAME", "open-clip": "ARCH@FILE", "timm": "NAME"},
            otherwise="torchvision",
        ),
        Kind(
            "head",
            "fedtl.heads",
            "fedtl.transfer.heads",
            "HEAD",
            "fedtl.transfer.heads.base:BaseHead",
        ),
        Kind(
            "strategy",
            "fedtl.strategies",
            "strategies",
            "STRATEGY",
            "strategies.base:HeadStrategy",
        ),
    )
}


def listed(key: str, value: str) -> tuple[str, ...]:
    """Return the parts that a key's value names; ``track`` separates several by commas."""
    if key != "track":
        return (value,)
    return tuple(name.strip() for name in value.split(",") if name.strip())


def kind_of(key: str) -> Kind:
    """Return the kind of part that a key chooses; ``init`` chooses a strategy."""
    return KINDS["strategy" if key == "init" else key]


CHOOSING_KEYS = (*KINDS, "init")
"""Keys whose value may be ``module:Class``."""


def names_code(values: Mapping[str, object]) -> list[str]:
    """Return the keys of a configuration whose value may be a ``module:Class``."""
    given = {key: listed(key, str(values.get(key, ""))) for key in CHOOSING_KEYS}
    return [key for key, names in given.items() if any(names_class(key, name) for name in names)]


def names_class(key: str, value: str) -> bool:
    """Return whether a value may be a ``module:Class``, whatever there is of that name."""
    kind = kind_of(key)
    if value.partition(":")[0] in kind.with_argument:
        return False
    return bool(_CLASS.fullmatch(value)) if kind.otherwise else ":" in value
