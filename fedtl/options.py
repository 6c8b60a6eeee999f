"""Options that lie beside what uses them: declared once, with help, range and default.

    class FedProx(FedAvg):
        options = Options("fedprox", mu=Number(0.1, "Pull of clients to the global head.", low=0.0))

The key is then ``fedprox-mu``, on the command line, in TOML and in Flower's run config alike; the
strategy reads it as ``self.options.mu``. A class has its bases' options, too, and may declare one
of them anew, with another default or range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast, overload

from fedtl.config_key import Rule, Scalar, check, kebab
from fedtl.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Where a search looks for a number.

    Attributes:
        low: The least.
        high: The most.
        log: Whether it looks evenly on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True)
class Option:
    """One option: what it is by default, what it may be, and what ``--help`` says of it.

    Attributes:
        default: Its value unless another is given; of its type.
        help: One sentence.
        low: The least that it may be.
        high: The most.
        above: It must be more than this.
        choices: All that it may be.
        tune: Where ``compare --tune`` looks for it; ``None`` leaves it alone.
        most_at_sites: The most that a site with data of its own follows, where more would cost it
            time or memory.
    """

    default: Scalar
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    tune: Range | None = None
    most_at_sites: float | None = None

    @property
    def kind(self) -> type:
        """Its type."""
        return type(self.default)

    @property
    def rule(self) -> Rule:
        """How it is checked."""
        return Rule(self.help, "", self.low, self.high, self.above, self.choices)


def Number(  # noqa: N802 - reads as a kind of option
    default: float, help: str, *, tune: Range | None = None, **bounds: float | None
) -> Option:
    """Return the option of a real number; ``low``, ``high`` and ``above`` bound it."""
    return Option(float(default), help, tune=tune, **bounds)  # type: ignore[arg-type]


def Integer(default: int, help: str, **bounds: float | None) -> Option:  # noqa: N802
    """Return the option of a whole number; ``low`` and ``high`` bound it."""
    return Option(int(default), help, **bounds)  # type: ignore[arg-type]


def Choice(default: str, help: str, choices: tuple[str, ...]) -> Option:  # noqa: N802
    """Return the option of one word of several."""
    return Option(default, help, choices=choices)


def Switch(default: bool, help: str) -> Option:  # noqa: N802
    """Return the option of a truth value."""
    return Option(default, help)


def Text(default: str, help: str) -> Option:  # noqa: N802
    """Return the option of a text."""
    return Option(default, help)


class Options:
    """The options of a class that has an attribute ``config``; put it into the class's body.

    Of an object it is their values, each by its name.

    Args:
        prefix: What every key begins with; empty for keys that are the names themselves.
        declared: The options by name.
    """

    def __init__(self, prefix: str = "", /, **declared: Option) -> None:
        self.by_name = {
            # A name that is a word of Python's own ends with an underscore, its key does not.
            name: (kebab("_".join(filter(None, (prefix, name.rstrip("_"))))), option)
            for name, option in declared.items()
        }

    def __or__(self, other: Options) -> Options:
        """Return these options and others, of another prefix."""
        both = Options()
        both.by_name = {**self.by_name, **other.by_name}
        return both

    @overload
    def __get__(self, instance: None, owner: type) -> Options: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Any: ...

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        given = dict(cast(Any, instance).config.options)
        values = SimpleNamespace(
            **{
                name: given.get(key, option.default)
                for name, (key, option) in _by_name(owner).items()
            }
        )
        # Looked up here from now on: the configuration does not change.
        instance.__dict__["options"] = values
        return values


def declared(part: type) -> dict[str, Option]:
    """Return a class's options and its bases', by key."""
    return dict(_by_name(part).values())


def _by_name(part: type) -> dict[str, tuple[str, Option]]:
    found: dict[str, tuple[str, Option]] = {}
    for base in reversed(part.__mro__):
        own = base.__dict__.get("options")
        if not isinstance(own, Options):
            continue
        for name, (key, option) in own.by_name.items():
            if name in found and found[name][0] != key:
                raise TypeError(
                    f"{part.__name__} has two options {name}: {found[name][0]} and {key}"
                )
            found[name] = key, option
    return found


def checked(key: str, value: Scalar, option: Option) -> Scalar:
    """Return an option's value, of its type.

    Raises:
        UsageError: It is of another type, or out of range.
    """
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not option.kind:
        raise UsageError(
            f"{key} = {value!r} is of type {type(value).__name__}; it must be of type "
            f"{option.kind.__name__}."
        )
    check(key, value, option.rule)
    return value


def others_than_default(
    values: Mapping[str, Scalar], known: Mapping[str, Option]
) -> tuple[tuple[str, Scalar], ...]:
    """Return the options that are not as by default, in order of their keys."""
    return tuple(
        (key, value)
        for key, value in sorted(values.items())
        if key not in known or value != known[key].default
    )
