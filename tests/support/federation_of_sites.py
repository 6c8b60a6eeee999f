"""A federation of sites with data of their own, in this process, each site's new for every message.

Site k has the features in ``k.npz`` of a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from small_federation import Notes

from fedtl import flower_app
from fedtl.client.site_store import read_site
from fedtl.config import RunConfig
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.journal import Journal
from fedtl.federation.outcome import Outcome
from fedtl.federation.server import Federation


def folder_of_sites(folder: Path, count: int) -> Path:
    """Write the features of so many sites, 60 rows of three classes each; return the folder."""
    draws = np.random.default_rng(0)
    for site in range(count):
        y = np.arange(60) % 3
        x = np.eye(3, 4)[y] + 0.7 * draws.normal(size=(60, 4))
        np.savez(folder / f"{site}.npz", x=x.astype(np.float32), y=y)
    return folder


def grid_of_sites(
    config: RunConfig,
    folder: Path,
    cache: Path,
    node: Mapping[int, Mapping[str, Any]] | None = None,
    told: list[Message] | None = None,
) -> InlineGrid:
    """Return a grid of the sites; ``told`` takes all replies in their order."""

    def sites(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        replies = []
        for message, context in zip(messages, contexts, strict=True):
            partition = int(context.node_config["partition-id"])
            context.node_config["data"] = f"features:{folder / f'{partition}.npz'}"
            context.node_config["cache"] = str(cache / str(partition))
            context.node_config |= (node or {}).get(partition, {})
            read_site.cache_clear()
            replies.append(flower_app.reply(message, context))
        if told is not None:
            told.extend(replies)
        return replies

    return InlineGrid(config.clients, sites, config.to_mapping(), block=1)


def federate(
    config: RunConfig,
    folder: Path,
    cache: Path,
    node: Mapping[int, Mapping[str, Any]] | None = None,
    journal: Journal | None = None,
) -> tuple[Outcome, Notes, list[Message]]:
    """Run it; return what came out, what the server noted, and all replies in their order.

    Args:
        config: Of the run.
        folder: Of the sites' features.
        cache: Folder for the sites' caches.
        node: Further keys of a site's node configuration, by its partition.
        journal: Takes the server's notes instead.
    """
    notes, told = Notes(), list[Message]()
    grid = grid_of_sites(config, folder, cache, node, told)
    return Federation(grid, config, journal or notes).run(), notes, told
