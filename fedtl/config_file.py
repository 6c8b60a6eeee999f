"""A configuration read from keys and values, from a TOML file, and written as one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fedtl.config import RunConfig
from fedtl.config_key import Scalar, nearest
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.kinds import CHOOSING_KEYS, KINDS
from fedtl.known_options import (
    Choice,
    defaults_of,
    find_option,
    options_of,
    shipped_option,
    shipped_options,
)
from fedtl.options import Option, checked, others_than_default

# The one table of a scenario: what ``fedtl.compare`` makes of it, which a single run leaves alone.
_COMPARE = "compare"
# Keys with many dots take time that grows with the square of their number.
_MOST_BYTES, _MOST_DOTS = 2**16, 200
_TRUTH = {"true": True, "false": False}
_DEFAULT = RunConfig()
COMPARE_KEYS: Mapping[str, type] = {
    "strategies": str,
    "seeds": int,
    "vary": str,
    "target": float,
    "tune": int,
}


def from_mapping(
    values: Mapping[str, Any],
    *,
    where: str,
    base: RunConfig | None = None,
    others: Sequence[Choice] = (),
) -> RunConfig:
    """Return ``base`` (the defaults) with kebab-case ``values`` put over it.

    Args:
        values: Kebab-case keys; integers are taken where a float is wanted. A table ``compare``,
            which Flower flattens to keys that begin with ``compare.``, is checked and left alone.
            ``set`` holds options of a user's own parts as one text.
        where: What the values came from, for messages: a file, "the command line".
        base: The configuration to change.
        others: Parts whose options may be among the values, beside those of the configuration's
            own and of all that are shipped.

    Raises:
        UsageError: A key is unknown (the nearest known one is suggested), a value has the wrong
            type, is out of range, or contradicts another.
    """
    known = rules()
    core: dict[str, Any] = {}
    options: dict[str, Any] = {}
    _compare_of(values, where)
    for key, value in values.items():
        if key == "set":
            options |= options_set(value, where)
        elif key in known:
            kind = type(getattr(_DEFAULT, key.replace("-", "_")))
            core[key.replace("-", "_")] = _typed(key, value, kind, where)
        elif key.partition(".")[0] != _COMPARE:
            options[key] = value
    config = (base or RunConfig()).replace(**core)
    return _with_options(config, options, where, others) if options else config


def refuse_unchosen(given: Mapping[str, Any], config: RunConfig) -> None:
    """Refuse options of parts that a run does not use.

    Args:
        given: What a person gave, by key.
        config: The run, settled.

    Raises:
        UsageError: One of them is such an option.
    """
    others = [key for key in given if key not in rules()]
    for key in others:
        known = shipped_option(key)
        if known is None or key in options_of(*config.chosen) or config.may_read(key):
            continue
        chosen = str(getattr(config, known.key))
        KINDS[known.key].load(chosen) if known.key == "strategy" else None
        which = "it" if len(known.owners) == 1 else "one of them"
        raise UsageError(
            f"{key} is an option of {', '.join(known.owners)}, and the run has {known.key} = "
            f"{chosen}; choose {which}, or leave {key} out."
        )


def _with_options(
    config: RunConfig, options: Mapping[str, Any], where: str, others: Sequence[Choice]
) -> RunConfig:
    known: dict[str, Option] = {}
    values: dict[str, Scalar] = {}
    chosen = (*others, *config.chosen)
    for key, value in options.items():
        option = find_option(key, chosen)
        if option is None:
            if isinstance(value, Mapping):
                raise UsageError(f"{where} has a table [{key}]; keys are flat, without tables.")
            every = [*rules(), *shipped_options(), *options_of(*config.chosen)]
            if isinstance(value, Spelt) and where == "the command line":
                near = nearest(f"--{key}", [f"--{one}" for one in every])
                raise UsageError(f"Unknown flag '--{key}'{near}")
            raise UsageError(f"Unknown key {key!r} in {where}{nearest(key, every)}")
        if len(defaults_of(key, chosen)) < 2:
            known[key] = option  # else its default is not the same for all that read it
        if isinstance(value, Spelt):
            value = spelt(key, value, option)
        values[key] = checked(key, _typed(key, value, option.kind, where), option)
    together = {**dict(config.options), **values}
    return config.replace(options=others_than_default(together, known))


class Spelt(str):
    """A value as it was typed on the command line, whatever its type is to be."""


def spelt(key: str, text: str, option: Option) -> Scalar:
    """Return the value that a text spells.

    Raises:
        UsageError: It is not of the option's type.
    """
    try:
        return _TRUTH[text.lower()] if option.kind is bool else option.kind(text)
    except (ValueError, KeyError):
        kind = option.kind.__name__
        raise UsageError(f"{key} = {text!r} must be of type {kind}.") from None


def pairs_of(text: str, where: str) -> dict[str, str]:
    """Return the keys and texts that ``"beta=0.3 gamma=2"`` says.

    Raises:
        UsageError: It is not of that form.
    """
    pairs = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError(f"{where} = {text!r} must be of the form 'key=value key=value'.")
        pairs[key] = value
    return pairs


def options_set(value: Any, where: str) -> dict[str, Spelt]:
    """Return the options that ``set`` holds.

    Raises:
        UsageError: It is not of the form ``key=value key=value``.
    """
    if not isinstance(value, str):
        raise UsageError(f"set = {value!r} in {where} must be of the form 'key=value key=value'.")
    return {key: Spelt(text) for key, text in pairs_of(value, f"set in {where}").items()}


def from_flower(run_config: Mapping[str, Any]) -> RunConfig:
    """Return what Flower's run config says.

    It holds all keys of pyproject.toml, whether or not a person set them: an option that has the
    default there counts as not set.

    Raises:
        UsageError: See :func:`from_mapping`.
    """
    shipped = {key: known.option.default for key, known in shipped_options().items()}
    given = {
        key: value
        for key, value in run_config.items()
        if key not in shipped or value != shipped[key]
    }
    return from_mapping(given, where="Flower's run config")


def from_toml(
    path: Path, *, base: RunConfig | None = None, others: Sequence[Choice] = ()
) -> RunConfig:
    """Return ``base`` with the keys of a TOML file put over it; see :func:`from_mapping`.

    Raises:
        UsageError: The file cannot be read, is not TOML, has a table other than ``compare``, or a
            key is wrong.
    """
    return from_mapping(_read(path), where=str(path), base=base, others=others)


def toml_keys(path: Path) -> frozenset[str]:
    """Return the keys that a TOML file sets, its tables left out.

    Raises:
        UsageError: The file cannot be read or is not TOML.
    """
    return frozenset(key for key, value in _read(path).items() if not isinstance(value, Mapping))


def code_named_in(path: Path) -> dict[str, str]:
    """Return what a TOML file says of keys that may name code, without looking at what they name.

    Options are checked against what a part declares, so that reading them runs its code: who
    does not trust a file asks this first. It is empty if the file cannot be read.
    """
    try:
        values = _read(path)
    except UsageError:
        return {}
    return {key: str(values[key]) for key in CHOOSING_KEYS if key in values}


def compare_table(path: Path) -> dict[str, Scalar]:
    """Return the table ``compare`` of a TOML file, checked against :data:`COMPARE_KEYS`.

    It is empty if the file has none; keys that the file does not set are absent.

    Raises:
        UsageError: The file cannot be read, is not TOML, or a key of the table is wrong.
    """
    return _compare_of(_read(path), str(path))


def to_toml(config: RunConfig) -> str:
    """Return the effective configuration as TOML text, by section."""
    import tomli_w

    lines, section = [], ""
    known = rules()
    for key, value in config.only_chosen().to_mapping().items():
        of_key = known[key].section if key in known else "Options of what is chosen above"
        if of_key != section:
            section = of_key
            lines.append(f"\n# {section}")
        lines.append(tomli_w.dumps({key: value}).strip())
    return "\n".join(lines).strip() + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(
                f"The configuration {path} has more than {_MOST_BYTES:,} bytes, which is more than "
                "any needs."
            )
        text = content.decode().replace("\r\n", "\n")
        if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
            raise UsageError(f"The configuration {path} has a line of more than {_MOST_DOTS} dots.")
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"The configuration {path} is nested too deeply.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The configuration {path} cannot be read: {_reason(error)}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The configuration {path} is not valid TOML: {error}.") from error


def _compare_of(values: Mapping[str, Any], where: str) -> dict[str, Scalar]:
    """Return the table ``compare``, nested as in TOML or flattened as in Flower, checked."""
    table = values.get(_COMPARE, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{_COMPARE} = {table!r} in {where} is not a table; write [{_COMPARE}].")
    prefix = f"{_COMPARE}."
    flat = {key[len(prefix) :]: value for key, value in values.items() if key.startswith(prefix)}
    checked: dict[str, Scalar] = {}
    for key, value in {**table, **flat}.items():
        if key not in COMPARE_KEYS:
            near = nearest(key, COMPARE_KEYS)
            raise UsageError(f"Unknown key {key!r} in the table [{_COMPARE}] of {where}{near}")
        checked[key] = _typed(prefix + key, value, COMPARE_KEYS[key], where)
    return checked


def _typed(key: str, value: Any, kind: type, where: str) -> Scalar:
    """Return ``value`` as ``kind``, where that loses nothing."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if key == "samples" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # "none" or a number: 9 is as clear as "9"
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return cast(Scalar, value)
    if isinstance(value, Mapping):
        raise UsageError(f"{where} has a table [{key}]; keys are flat, without tables.")
    raise UsageError(
        f"{key} = {value!r} in {where} is of type {type(value).__name__}; "
        f"it must be of type {kind.__name__}."
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
