"""Which options there are: those of the parts that a run chooses, and those of all we ship."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from fedtl.config_key import Scalar
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.kinds import KINDS, NO_PART, Kind, kind_of
from fedtl.options import Option, declared

Choice = tuple[str, str]
"""A key that chooses a part, and its value: ``("strategy", "fedprox")``."""

# What partition = auto may be: see RunConfig.settled.
_STANDING_FOR = {("partition", NO_PART["partition"]): "dirichlet"}


@dataclass(frozen=True)
class Known:
    """A shipped option.

    Attributes:
        option: What it is.
        key: The key that chooses what reads it.
        owners: The values of that key that read it.
    """

    option: Option
    key: str
    owners: tuple[str, ...]


def options_of(*chosen: Choice) -> dict[str, Option]:
    """Return the options of parts, by key.

    A value that names no part has none; it is refused where the part is built.

    Raises:
        UsageError: A user's own class cannot be loaded, or declares a key that every run or another
            part has.
    """
    found: dict[str, Option] = {}
    owners: dict[str, Choice] = {}
    for key, value in chosen:
        for name, option in _options(key, value).items():
            owner = owners.setdefault(name, (key, value))
            if kind_of(owner[0]) != kind_of(key):
                raise UsageError(
                    f"{key} = {value!r} declares the option {name}, which {owner[0]} = "
                    f"{owner[1]!r} has, too; give its Options a prefix."
                )
            found[name] = option
    return found


def _options(key: str, value: str) -> dict[str, Option]:
    kind = kind_of(key)
    value = _STANDING_FOR.get((key, value), value)
    if value == NO_PART.get(key):
        return {}
    try:
        name, _ = kind.found(value)
    except UsageError:
        return {}
    return _declared(kind, value) if ":" in name else _of_name(kind.key, name, value)


@cache
def _of_name(key: str, name: str, value: str) -> dict[str, Option]:
    return _declared(KINDS[key], value)


def _declared(kind: Kind, value: str) -> dict[str, Option]:
    found = declared(kind.load(value))
    if hidden := next(iter(found.keys() & rules().keys()), ""):
        raise UsageError(
            f"{kind.key} = {value!r} declares the option {hidden}, which every run has; give its "
            "Options a prefix."
        )
    return found


@cache
def _shipped(key: str) -> dict[str, Known]:
    """Return the options of the parts of one kind that are shipped; not of what others install."""
    found: dict[str, Known] = {}
    kind = KINDS[key]
    for name in sorted(kind.shipped() | kind.by_place()):
        value = f"{name}:" if name in kind.with_argument else name
        for option, what in options_of((key, value)).items():
            owners = found[option].owners if option in found else ()
            found[option] = Known(what, key, (*owners, name))
    return found


@cache
def shipped_options() -> dict[str, Known]:
    """Return the options of all parts that are shipped, by key; not of what others install."""
    return {option: known for key in KINDS for option, known in _shipped(key).items()}


def shipped_option(key: str) -> Known | None:
    """Return a shipped option; what need not be imported to find it is not."""
    return next((_shipped(kind)[key] for kind in KINDS if key in _shipped(kind)), None)


def defaults_of(key: str, chosen: Iterable[Choice]) -> set[Scalar]:
    """Return what parts that are chosen, and declare an option, have for its default."""
    declaring = (_options(*choice) for choice in chosen)
    return {options[key].default for options in declaring if key in options}


def find_option(key: str, chosen: Iterable[Choice]) -> Option | None:
    """Return the option of a key: of the parts that are chosen, or else of a shipped one."""
    order = list(KINDS)
    for choice in sorted(chosen, key=lambda choice: order.index(kind_of(choice[0]).key)):
        if key in (known := _options(*choice)):
            return known[key]
    shipped = shipped_option(key)
    return None if shipped is None else shipped.option
