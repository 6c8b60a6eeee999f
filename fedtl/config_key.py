"""How one configuration key is declared, spelt and checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fedtl.errors import UsageError

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Rule:
    """How one key is checked and shown; it rides in the dataclass field's metadata."""

    help: str
    section: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def key(
    default: Scalar,
    help: str,
    section: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Any:
    """Return the field of a key with its default, what ``--help`` says of it and its rule.

    A key with ``words`` is one text of several words, which its flag takes one by one.
    """
    rule = Rule(help, section, low, high, above, choices, words)
    return dataclasses.field(default=default, metadata={"rule": rule})


def kebab(name: str) -> str:
    """Return the key that users write for a field."""
    return name.replace("_", "-")


def check(key: str, value: Scalar, rule: Rule) -> None:
    """Hold one value against its rule."""
    if rule.choices and value not in rule.choices:
        raise UsageError(
            f"{key} = {value!r} is not known{nearest(str(value), rule.choices)} "
            f"It is one of {', '.join(rule.choices)}."
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise UsageError(f"{key} = {value} is not a finite number.")
    if rule.above is not None and not value > rule.above:
        raise UsageError(f"{key} = {value} is too small: it must be above {rule.above:g}.")
    if rule.low is not None and value < rule.low:
        raise UsageError(f"{key} = {value} is too small: it must be at least {rule.low:g}.")
    if rule.high is not None and value > rule.high:
        raise UsageError(f"{key} = {value} is too large: it must be at most {rule.high:g}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a question about the known word that resembles ``word``, or a full stop."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else "."
