"""A folder that may come from somebody else: the code and files that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedtl.config import RunConfig
from fedtl.config_file import code_named_in, from_toml
from fedtl.config_key import Scalar
from fedtl.errors import UsageError
from fedtl.federation.run_identity import RunIdentity
from fedtl.kinds import names_code
from fedtl.user_code import bar, bar_models, unbar

# Where things lie may have changed; what they are is checked by their content.
MOVABLE = ("data", "labels", "weights", "cache", "ray-address")
_PLAIN_WEIGHTS = ("DEFAULT", "random")


def bar_code(
    folder: Path,
    *,
    trust: bool,
    given: Mapping[str, Any] | None = None,
    remedy: str = "add --trust",
) -> None:
    """Bar classes that the folder names, and the user does not, from running.

    Their code is then not run if it lies in the folder or in the working directory, and no Python
    that the folder's backbone brings. Call this
    before the folder's configuration is read: reading it asks its strategy for options.

    Args:
        folder: The folder.
        trust: Whether the user vouches for the folder's code.
        given: Options that the user gives again; ``None`` if a command takes none.
        remedy: What the user can give to let such code run, for messages.
    """
    values = code_named_in(folder.expanduser() / "config.toml")
    named = [key for key in names_code(values) if key not in (given or {})]
    unbar()
    if trust:
        return
    bar_models(remedy)
    if not named:
        return
    anew = " ".join(f"--{key} {values[key]}" for key in named)
    bar(folder, remedy + (f", or give {anew} again" if given is not None else ""))


def read_run(
    run: Path, *, trust: bool, remedy: str = "add --trust"
) -> tuple[RunConfig, RunIdentity | None]:
    """Return the configuration of a run folder, and its identity if it has one.

    Args:
        run: The folder.
        trust: Whether a class that the folder names may run, wherever its code lies.
        remedy: What the user can give to let such code run, for messages.

    Raises:
        UsageError: It is not a run folder, or its code may not run.
        FedtlError: A file is damaged.
    """
    folder = run.expanduser()
    # Path.is_file would raise where a folder above may not be entered.
    if not os.path.isfile(folder / "config.toml"):  # noqa: PTH113
        raise UsageError(
            f"{run} is not a run folder: it has no config.toml; a run lies where out said, or in "
            "runs/."
        )
    identity = RunIdentity.read(folder)
    bar_code(folder, trust=trust, remedy=remedy)
    return from_toml(folder / "config.toml"), identity


def told_places(
    values: Mapping[str, Scalar],
    folder: Path,
    *,
    given: Mapping[str, Any] | None = None,
    keys: tuple[str, ...] = (*MOVABLE, "partition"),
) -> list[str]:
    """Return a sentence that names the paths and addresses that a folder uses outside itself.

    Args:
        values: The folder's configuration, by kebab-case key.
        folder: The folder.
        given: Options that the user gives again; they are not named.
        keys: Those that are used.
    """
    places = [
        f"{key} = {values[key]!r}"
        for key in keys
        if key not in (given or {}) and any(_outside(key, str(values[key]), folder))
    ]
    if not places:
        return []
    lie = "which lie" if len(places) > 1 else "which lies"
    told = f"The run uses {', '.join(places)}, {lie} outside {folder}"
    return [f"{told}; the configuration in that folder says so."]


def _outside(key: str, value: str, folder: Path) -> Iterator[bool]:
    """Yield whether a value's place is outside a folder; nothing if it names no place."""
    if key == "ray-address":
        yield bool(value)
        return
    kind, colon, rest = value.partition(":")
    if key == "partition":
        value = rest if kind == "file" else ""
    elif key == "data" and colon and kind in ("features", "medmnist", "torchvision"):
        value = "" if kind == "torchvision" else rest
    elif (key == "data" and value == "hospitals") or (
        key == "weights" and (value in _PLAIN_WEIGHTS or not Path(value).expanduser().exists())
    ):
        value = ""
    if value:
        place = Path(value).expanduser()
        yield not place.resolve().is_relative_to(folder.expanduser().resolve())
