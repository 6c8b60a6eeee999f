"""Keys with several values in a comparison, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedtl.config_file import spelt
from fedtl.config_key import Scalar, kebab, nearest
from fedtl.config_keys.data import READING_KEYS
from fedtl.config_keys.every import defaults, rules
from fedtl.errors import UsageError
from fedtl.kinds import CHOOSING_KEYS
from fedtl.known_options import Choice, find_option, options_of, shipped_option
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
    "trainable-blocks",
    "train-from",
    "views",
)
_SECTIONS_APART = ("Machine", "Output")
_COUNTED = {
    "seed": "seeds sets their number, starting from seed",
    "strategy": "strategies lists them",
}


def varying_keys() -> list[str]:
    """Return the keys that can have several values in a comparison; a switch has one."""
    switches = {kebab(name) for name, value in defaults().items() if isinstance(value, bool)}
    return [
        key
        for key, rule in rules().items()
        if rule.section not in _SECTIONS_APART and key not in (*_INPUTS, *_COUNTED, *switches)
    ]


def check_varies(key: str, chosen: Sequence[Choice]) -> None:
    """Refuse a key that cannot have several values; an option can, unless it is of the inputs.

    Args:
        key: The key.
        chosen: The parts of all runs.

    Raises:
        UsageError: It cannot, or there is no such key.
    """
    if key in varying_keys():
        return
    known = find_option(key, chosen)
    if known is None and key not in rules():
        raise UsageError(f"Unknown key {key!r}{nearest(key, varying_keys())}")
    shipped, inputs = shipped_option(key), [one for one in chosen if one[0] in _INPUTS]
    of_inputs = key in options_of(*inputs) or (shipped is not None and shipped.key in _INPUTS)
    if known is None or of_inputs:
        why = _COUNTED.get(key, "it has one value for the whole comparison")
        raise UsageError(f"{key} cannot vary: {why}.")


def read_values(key: str, text: str, chosen: Sequence[Choice]) -> tuple[Scalar, ...]:
    """Return the values of ``key`` that are listed in ``text``, separated by commas.

    Args:
        key: Of every run, or an option of a part.
        text: The list.
        chosen: The parts of all runs.

    Raises:
        UsageError: One is not of the key's type, or there is none.
    """
    option = _option(key, chosen)
    parts = filter(None, (part.strip() for part in text.split(",")))
    values = [spelt(key, part, option) for part in parts]
    if not values:
        raise UsageError(f"{key} has no value.")
    return tuple(values)


def _option(key: str, chosen: Sequence[Choice]) -> Option:
    if key in rules():
        return Option(defaults()[key.replace("-", "_")], "")
    option = find_option(key, chosen)
    if option is None:
        near = nearest(key, [*varying_keys(), *options_of(*chosen)])
        raise UsageError(f"Unknown key {key!r}{near}")
    return option


def read_vary(text: str, chosen: Sequence[Choice]) -> Axes:
    """Return the keys and options in ``"alpha=0.1,1 fraction=0.5,1"``.

    Raises:
        UsageError: It does not have that form.
    """
    listed = {}
    for part in text.split():
        key, equals, values = part.partition("=")
        if not equals:
            raise UsageError(f"vary = {text!r} must be of the form 'key=value,value key=value'.")
        listed[key] = values
    named = {key: listed[key].split(",") for key in CHOOSING_KEYS if key in listed}
    every = (*chosen, *choices(named))
    return {key: read_values(key, values, every) for key, values in listed.items()}


def choices(named: Mapping[str, Sequence[Scalar]]) -> tuple[Choice, ...]:
    """Return the parts that values of keys choose; other keys are ignored."""
    return tuple(
        (key, str(value))
        for key, values in named.items()
        if key in CHOOSING_KEYS
        for value in values
    )
