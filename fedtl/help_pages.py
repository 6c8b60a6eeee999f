"""The pages of ``--help``: one that fits a screen, and one for each part's own options."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedtl.config_key import nearest
from fedtl.config_keys.every import defaults
from fedtl.errors import UsageError
from fedtl.kinds import KINDS, Kind
from fedtl.known_options import shipped_option, shipped_options
from fedtl.options import Option, declared

ALL = "all"
"""The word after ``--help`` that shows every flag."""

_WIDTH, _FLAG_COLUMN = 79, 22


@dataclass(frozen=True)
class HelpPage:
    """A command's first help page.

    Attributes:
        command: Its name.
        about: What it does, one sentence.
        examples: Command lines, without ``fedtl``.
        flags: Its own flags that most people want, and what each does.
        keys: Keys of every run that most people want, and what each is, in a line.
    """

    command: str
    about: str
    examples: tuple[str, ...]
    flags: Mapping[str, str]
    keys: Mapping[str, str]

    def __str__(self) -> str:
        """Return the page."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"Usage: fedtl {self.command} [FLAGS]    or: python -m fedtl.{self.command} [FLAGS]"
        yield ""
        yield from _wrapped(self.about)
        yield ""
        yield "Examples"
        yield from (f"  fedtl {self.command} {example}" for example in self.examples)
        yield ""
        yield "Flags that most people want"
        for key, told in self.keys.items():
            name = key.replace("-", "_")
            # Options of what imports PyTorch are not on a first page.
            known = None if name in defaults() else shipped_option(key)
            default = defaults()[name] if known is None else known.option.default
            yield from _flag(f"--{key}", told, default)
        for flag, told in self.flags.items():
            yield from _flag(flag, told)
        yield ""
        yield "Strategies"
        yield from _wrapped(", ".join(KINDS["strategy"].available()), "  ")
        yield ""
        yield from _wrapped(
            "--help fedprox shows a strategy's own options (or those of module:Class), and so do "
            "--help hospitals, dirichlet, sign-flip for data, partitions and attacks; --help all "
            "shows every flag."
        )


def _named(kind: Kind) -> tuple[str, ...]:
    """Return the parts of a kind that have a page: those with a name, and those of a suffix."""
    return tuple(sorted({*kind.available(), *kind.by_suffix.values()}))


def part_pages(name: str) -> str:
    """Return the help on all parts of a name: what each does, and its options.

    Args:
        name: As ``--strategy``, ``--data``, ``--partition`` or ``--attack`` takes it.

    Raises:
        UsageError: No part has this name, or it cannot be loaded.
    """
    of_name = [kind for kind in KINDS.values() if name.partition(":")[0] in _named(kind)]
    if not of_name and ":" in name:
        return _page(_kind_of_class(name), name)
    if not of_name:
        every = [known for kind in KINDS.values() for known in _named(kind)]
        near = nearest(name, every)
        raise UsageError(
            f"There is no help on {name!r}{near} There are pages on "
            + "; on ".join(f"{kind.key}: {', '.join(_named(kind))}" for kind in KINDS.values())
            + "; and on module:Class of your own."
        )
    return "\n\n".join(_page(kind, name.partition(":")[0]) for kind in of_name)


def options_page() -> str:
    """Return the options of all parts that are shipped."""
    lines = ["Options of parts, which --help NAME shows with their limits"]
    for key, known in shipped_options().items():
        owners = f"{known.key} = {', '.join(known.owners)}"
        lines += _flag(f"--{key}", f"{known.option.help} ({owners})", known.option.default)
    return "\n".join(lines)


def _kind_of_class(name: str) -> Kind:
    """Return the kind of a user's own class."""
    refused = UsageError("")
    for kind in KINDS.values():
        try:
            kind.load(name)
        except UsageError as error:
            refused = error if kind.key == "strategy" else refused
        else:
            return kind
    raise refused


def _page(kind: Kind, name: str) -> str:
    part = kind.load(f"{name}:" if name in kind.with_argument else name)
    lines = [f"--{kind.key} {name}", ""]
    told = (inspect.getdoc(part) or "").partition("\n\n")[0]
    lines += [*_wrapped(" ".join(told.replace("``", "").split())), ""]
    options = declared(part)
    if not options:
        return "\n".join([*lines, "It has no options of its own."])
    lines.append("Options (on the command line, in TOML and in Flower's run config alike)")
    for key, option in options.items():
        lines += _flag(f"--{key}", f"{option.help}{_limits(option)}", option.default)
    return "\n".join(lines)


def _limits(option: Option) -> str:
    if option.choices:
        return f" One of {', '.join(option.choices)}."
    low = f"above {option.above:.10g}" if option.above is not None else ""
    low = f"at least {option.low:.10g}" if option.low is not None else low
    high = f"at most {option.high:.10g}" if option.high is not None else ""
    bounds = " and ".join(filter(None, (low, high)))
    said = f" It is {bounds}." if bounds else ""
    if option.tune is not None:
        said += f" compare --tune searches from {option.tune.low:g} to {option.tune.high:g}."
    return said


def _flag(flag: str, told: str, default: object = None) -> Iterator[str]:
    if default not in (None, ""):
        told = f"{told} [{default}]"
    lines = textwrap.wrap(told, _WIDTH - _FLAG_COLUMN)
    # A long flag has a line of its own.
    first, rest = (lines[0], lines[1:]) if len(flag) < _FLAG_COLUMN - 2 else ("", lines)
    yield (f"  {flag}".ljust(_FLAG_COLUMN) + first).rstrip()
    yield from (" " * _FLAG_COLUMN + line for line in rest)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
