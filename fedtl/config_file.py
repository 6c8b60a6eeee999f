"""A configuration read from keys and values, from a TOML file, and written as one."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fedtl.config import RunConfig, rules
from fedtl.config_key import Scalar, kebab, nearest
from fedtl.errors import UsageError

# The one table of a scenario: what ``fedtl.compare`` makes of it, which a single run leaves alone.
_COMPARE = "compare"
# Keys with many dots take time that grows with the square of their number.
_MOST_BYTES, _MOST_DOTS = 2**16, 200
COMPARE_KEYS: Mapping[str, type] = {
    "strategies": str,
    "seeds": int,
    "vary": str,
    "target": float,
    "tune": int,
}


def from_mapping(
    values: Mapping[str, Any], *, where: str, base: RunConfig | None = None
) -> RunConfig:
    """Return ``base`` (the defaults) with kebab-case ``values`` put over it.

    Args:
        values: Kebab-case keys; integers are taken where a float is wanted. A table ``compare``,
            which Flower flattens to keys that begin with ``compare.``, is checked and left alone.
        where: What the values came from, for messages: a file, "the command line".
        base: The configuration to change.

    Raises:
        UsageError: A key is unknown (the nearest known one is suggested), a value has the wrong
            type, is out of range, or contradicts another.
    """
    known = {kebab(field.name): field for field in dataclasses.fields(RunConfig)}
    changes: dict[str, Scalar] = {}
    _compare_of(values, where)
    for key, value in values.items():
        if key.partition(".")[0] == _COMPARE:
            continue
        if key not in known:
            if isinstance(value, Mapping):
                raise UsageError(f"{where} has a table [{key}]; keys are flat, without tables.")
            raise UsageError(f"Unknown key {key!r} in {where}{nearest(key, known)}")
        field = known[key]
        changes[field.name] = _typed(key, value, type(field.default), where)
    return dataclasses.replace(base or RunConfig(), **changes)  # type: ignore[arg-type]


def from_toml(path: Path, *, base: RunConfig | None = None) -> RunConfig:
    """Return ``base`` with the keys of a TOML file put over it.

    Raises:
        UsageError: The file cannot be read, is not TOML, has a table other than ``compare``, or a
            key is wrong.
    """
    return from_mapping(_read(path), where=str(path), base=base)


def toml_keys(path: Path) -> frozenset[str]:
    """Return the keys that a TOML file sets, its tables left out.

    Raises:
        UsageError: The file cannot be read or is not TOML.
    """
    return frozenset(key for key, value in _read(path).items() if not isinstance(value, Mapping))


def compare_table(path: Path) -> dict[str, Scalar]:
    """Return the table ``compare`` of a TOML file, checked against :data:`COMPARE_KEYS`.

    It is empty where the file has none; keys that the file does not set are absent.

    Raises:
        UsageError: The file cannot be read, is not TOML, or a key of the table is wrong.
    """
    return _compare_of(_read(path), str(path))


def to_toml(config: RunConfig) -> str:
    """Return the effective configuration as TOML text, by section."""
    import tomli_w

    values, lines, section = config.to_mapping(), [], ""
    for key, rule in rules().items():
        if rule.section != section:
            section = rule.section
            lines.append(f"\n# {section}")
        lines.append(tomli_w.dumps({key: values[key]}).strip())
    return "\n".join(lines).strip() + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(
                f"The configuration {path} has more than {_MOST_BYTES:,} bytes, as none needs."
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
        raise UsageError(f"{_COMPARE} = {table!r} in {where} is no table; write [{_COMPARE}].")
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
