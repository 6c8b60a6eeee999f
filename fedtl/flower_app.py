"""The same federation inside Flower's own runtimes, called by the thin app in ``simulations/``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid

from fedtl.client.answers import answer
from fedtl.client.node_config import SITE_KEYS, NodeConfigError
from fedtl.client.own_data import answer_at_site, is_simulated, refuse_at_site
from fedtl.client.own_word import OWN_WORD, own_words
from fedtl.client.site_store import kept_site
from fedtl.config_file import from_flower, from_mapping, options_set
from fedtl.engine.flower_internals import client_raised
from fedtl.errors import UsageError


def reply(message: Message, context: Context) -> Message:
    """Return this client's reply, in any process of Flower's."""
    try:
        simulated = is_simulated(context.node_config)
    except NodeConfigError as error:
        return refuse_at_site(message, context, error)
    if not simulated:
        return answer_at_site(message, context)
    try:
        return _answer_simulated(message, context)
    except Exception as error:  # told whole, as in our own engine
        return client_raised(message, error)


def _answer_simulated(message: Message, context: Context) -> Message:
    """Return a simulated client's reply in the scenario."""
    # A real site's process has none of this in it.
    from fedtl.runs.dealt_site import prepare_dealt
    from fedtl.scenario.layer import Scenario

    own = {key: context.node_config[key] for key in SITE_KEYS if key in context.node_config}
    if context.node_config.get("simulated"):
        _refuse_others_word(context.run_config, own)
    run = from_flower(context.run_config)
    config = from_mapping(own, where="this node's config", base=run).settled()
    opened = partial(kept_site, config, prepare_dealt)
    return answer([message], [context], config=config, open_site=opened, layer=Scenario(config))[0]


def _refuse_others_word(run: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a run that switches on, on a machine that a server may reach, what is that one's own.

    Raises:
        UsageError: It does.
    """
    asked = {**run, **options_set(run.get("set", ""), "the run's configuration")}
    for key in OWN_WORD.keys() - own_words(own, "this node's config"):
        if str(asked.get(key, False)).lower() != "false":
            raise UsageError(f"{key} is refused here: {OWN_WORD[key]}.")


def serve(grid: Grid, context: Context) -> None:
    """Run the server's side from handshake to report, writing the run folder.

    Raises:
        FedtlError: See :class:`Run`; Flower marks the run as failed and logs the sentence.
    """
    from rich.console import Console

    from fedtl.observers.progress import RunProgress
    from fedtl.observers.run_folder import RunFolder
    from fedtl.observers.tracking import trackers
    from fedtl.runs.clients import ConnectedClients
    from fedtl.runs.run import Run
    from fedtl.transfer.backbones import without_inputs
    from fedtl.watching import watchers

    began = time.perf_counter()
    # The data is elsewhere, so that only a person can say what it takes if it is no pictures.
    config = without_inputs(from_flower(context.run_config).settled())
    tracking = trackers(config)
    folder = RunFolder.create(config, "sites")
    with folder.at_work(), RunProgress(Console(stderr=True)) as progress:
        clients = ConnectedClients(config, grid)
        Run(clients, watchers(folder, progress, tracking), folder=folder, began=began).result()
        progress.noted(f"report: {(folder.path / 'report.html').resolve()}")
