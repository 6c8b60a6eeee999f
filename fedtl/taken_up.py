"""A run that is resumed from its folder: the folder's settings and the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.command_line import absolute_paths
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, refuse_unchosen
from fedtl.errors import UsageError
from fedtl.federation.foreign_folder import MOVABLE, told_places


def taken_up(
    config: RunConfig, folder: Path, flags: Mapping[str, Any]
) -> tuple[RunConfig, list[str]]:
    """Return the configuration to go on with, and notes to print before it is used.

    Args:
        config: The folder's; its code was barred before it was read.
        folder: The run folder.
        flags: Options that the user gives again, by kebab-case key.

    Raises:
        UsageError: The user gives a key another value than the run has.
    """
    before = config.to_mapping()
    chosen = absolute_paths(from_mapping(flags, where="the command line", base=config))
    refuse_unchosen(flags, config)
    after = chosen.to_mapping()
    for key in flags:
        if key not in MOVABLE and after[key] != before[key]:
            raise UsageError(
                f"--resume goes on with the run as it was configured, with {key} = "
                f"{before[key]!r}, so --{key} cannot be given another value."
            )
    # What is absolute now and was not stays as it is: the run's own folder may have moved, too.
    config = config.replace(**{key.replace("-", "_"): after[key] for key in flags})
    return config, told_places(before, folder, given=flags)
