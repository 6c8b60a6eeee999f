"""What ``--help`` shows: a page that fits a screen, and a page for each strategy's own options."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedtl.config_keys.every import defaults
from fedtl.known_options import available_strategies, load_strategy
from fedtl.options import Option, declared

ALL = "all"
"""What stands after ``--help`` for every flag."""

_WIDTH, _FLAG_COLUMN = 79, 22


@dataclass(frozen=True)
class HelpPage:
    """What a command's first page says.

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
            yield from _flag(f"--{key}", told, defaults()[key.replace("-", "_")])
        for flag, told in self.flags.items():
            yield from _flag(flag, told)
        yield ""
        yield "Strategies"
        yield from _wrapped(", ".join(available_strategies()), "  ")
        yield ""
        yield from _wrapped(
            "--help fedprox shows a strategy's own options (or those of module:Class), --help all "
            "every flag."
        )


def strategy_page(name: str) -> str:
    """Return what there is to know of a strategy: what it does, and its options.

    Raises:
        UsageError: There is none of this name, or it cannot be loaded.
    """
    part = load_strategy(name)
    lines = [f"--strategy {name}", ""]
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
    low = f"above {option.above:g}" if option.above is not None else ""
    low = f"at least {option.low:g}" if option.low is not None else low
    high = f"at most {option.high:g}" if option.high is not None else ""
    bounds = " and ".join(filter(None, (low, high)))
    said = f" It is {bounds}." if bounds else ""
    if option.tune is not None:
        said += f" compare --tune looks from {option.tune.low:g} to {option.tune.high:g}."
    return said


def _flag(flag: str, told: str, default: object = None) -> Iterator[str]:
    if default not in (None, ""):
        told = f"{told} [{default}]"
    first, *rest = textwrap.wrap(told, _WIDTH - _FLAG_COLUMN)
    yield f"  {flag}".ljust(_FLAG_COLUMN) + first
    yield from (" " * _FLAG_COLUMN + line for line in rest)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
