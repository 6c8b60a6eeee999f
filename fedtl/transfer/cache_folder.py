"""Where features are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from fedtl.config import RunConfig


def cache_folder(config: RunConfig) -> Path | None:
    """Return the feature cache: the configured folder, the user's own, or ``None`` for none.

    There is none either where the user has no home, as in many containers: see :func:`cache_note`.
    """
    if config.no_cache:
        return None
    if config.cache:
        return Path(config.cache).expanduser()
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("fedtl")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, KeyError):  # no home, or none that can be written
        return None
    homeless = folder.is_relative_to("/.cache") or not os.access(folder, os.W_OK)
    return None if homeless else folder


def cache_note(config: RunConfig) -> str:
    """Return what to tell where features are kept in memory only, although nobody asked for it."""
    if config.no_cache or config.cache or cache_folder(config) is not None:
        return ""
    return (
        "this user has no home folder that can be written, so features are computed anew by every "
        "run; name a folder with --cache"
    )
