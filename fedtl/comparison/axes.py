"""Keys that have several values in a comparison, and how those are written."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.config import RunConfig
from fedtl.config_file import spelt
from fedtl.config_key import Scalar, nearest
from fedtl.config_keys.data import READING_KEYS
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.known_options import find_option, options_of
from fedtl.options import Option

Axes = dict[str, tuple[Scalar, ...]]

# What the features are, and where things are done, is the same for a whole comparison.
_INPUTS = (
    "data",
    *READING_KEYS,
    "grey-range",
    "window",
    "data-seed",
    "test-fraction",
    "duplicates",
    "holdout-site",
    "backbone",
    "weights",
    "image-size",
    "precision",
)
_SECTIONS_APART = ("Machine", "Output")
_COUNTED = {
    "seed": "seeds says how many there are, from seed on",
    "strategy": "strategies lists them",
}


def varying_keys() -> list[str]:
    """Return the keys that can have several values in a comparison; a switch has one."""
    switches = {key for key, value in RunConfig().to_mapping().items() if isinstance(value, bool)}
    return [
        key
        for key, rule in rules().items()
        if rule.section not in _SECTIONS_APART
        and key not in (*_INPUTS, *_COUNTED, *switches)
        and not key.startswith("hospitals-")
    ]


def check_varies(key: str, strategies: Sequence[str]) -> None:
    """Refuse a key that cannot have several values; an option of a strategy can.

    Raises:
        UsageError: It cannot, or there is no such key.
    """
    if key in varying_keys():
        return
    if find_option(key, strategies) is not None:
        return
    if key in rules():
        why = _COUNTED.get(key, "it is the same for a whole comparison")
        raise UsageError(f"{key} cannot vary: {why}.")
    raise UsageError(f"Unknown key {key!r}{nearest(key, varying_keys())}")


def read_values(key: str, text: str, strategies: Sequence[str]) -> tuple[Scalar, ...]:
    """Return the values of ``key`` that are listed in ``text``, separated by commas.

    Args:
        key: Of every run, or an option of a strategy.
        text: The list.
        strategies: That are compared.

    Raises:
        UsageError: One is not of the key's type, or there is none.
    """
    option = _option(key, strategies)
    parts = filter(None, (part.strip() for part in text.split(",")))
    values = [spelt(key, part, option) for part in parts]
    if not values:
        raise UsageError(f"{key} has no value.")
    return tuple(values)


def _option(key: str, strategies: Sequence[str]) -> Option:
    if key in rules():
        return Option(RunConfig().to_mapping()[key], "")
    option = find_option(key, strategies)
    if option is None:
        near = nearest(key, [*varying_keys(), *options_of(*strategies)])
        raise UsageError(f"Unknown key {key!r}{near}")
    return option


def read_vary(text: str, strategies: Sequence[str]) -> Axes:
    """Return what ``"alpha=0.1,1 fraction=0.5,1"`` says of keys, and of strategies' options.

    Raises:
        UsageError: It is not of that form.
    """
    vary = {}
    for part in text.split():
        key, equals, values = part.partition("=")
        if not equals:
            raise UsageError(f"vary = {text!r} must be of the form 'key=value,value key=value'.")
        vary[key] = read_values(key, values, strategies)
    return vary
