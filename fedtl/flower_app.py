"""The same federation inside Flower's own runtimes: what the thin app in ``simulations/`` calls.

A client process may be new for every message, so nothing is kept in it: what a site prepared (its
split, and where its features lie) is a file in its cache, and ``context.state`` says which.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message
from flwr.serverapp import Grid

from fedtl.client.answers import answer
from fedtl.client.own_data import answer_at_site, configuration_here, is_simulated, refusal
from fedtl.client.policy import SITE_KEYS, NodeConfigError
from fedtl.config import RunConfig
from fedtl.config_file import from_flower, from_mapping
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import absent_note
from fedtl.data.understood import Understood
from fedtl.data.unreadable import left_out
from fedtl.engine.flower_internals import client_raised
from fedtl.errors import UsageError
from fedtl.federation.checkpoint import write_atomically
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import data_notes, open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.site import Site
from fedtl.preparation.split import Split
from fedtl.preparation.splitting import (
    hold_out,
    settled_split,
    simulated_sites,
    split_into_clients,
)
from fedtl.records import config_record
from fedtl.statistics.disclosure import SMALLEST_CELL
from fedtl.transfer.cache_folder import cache_folder
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.shared_features import SharedFeatures

_logger = logging.getLogger(__name__)

_STATE = "fedtl-site"


def reply(message: Message, context: Context) -> Message:
    """Return this client's reply, in whatever process Flower runs it."""
    try:
        simulated = is_simulated(context.node_config)
    except NodeConfigError as error:
        return refusal(message, error)
    if not simulated:
        return answer_at_site(message, context, _answer)
    try:
        return _answer(message, context)
    except Exception as error:  # told whole, as in our own engine
        return client_raised(message, error)


def _answer(message: Message, context: Context) -> Message:
    return answer([message], [context], config=_config_of(context), open_site=open_site)[0]


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
    from fedtl.watching import watchers

    began = time.perf_counter()
    config = from_flower(context.run_config).settled()
    tracking = trackers(config)
    folder = RunFolder.create(config, "sites")
    with folder.at_work(), RunProgress(Console(stderr=True)) as progress:
        clients = ConnectedClients(config, grid)
        Run(clients, watchers(folder, progress, tracking), folder=folder, began=began).result()
        progress.noted(f"report: {(folder.path / 'report.html').resolve()}")


def open_site(context: Context) -> Site:
    """Return this client's data: prepared at its first message, found again at every other.

    Raises:
        UsageError: The site has no usable data, or no cache to keep what it prepares.
    """
    if _STATE in context.state:
        path = Path(str(config_record(context.state, _STATE)["path"]))
        if path.is_file():
            return _read_site(path)
    site, features = _prepare(context)
    path = _write_site(site, features, _cache(_config_of(context)))
    context.state[_STATE] = ConfigRecord({"path": str(path)})
    return site


def _config_of(context: Context) -> RunConfig:
    """Return the run's configuration as it applies at this client."""
    if "data" in context.node_config:
        return configuration_here(context)
    config = from_flower(context.run_config)
    own = {key: context.node_config[key] for key in SITE_KEYS if key in context.node_config}
    return from_mapping(own, where="this node's config", base=config).settled()


def _cache(config: RunConfig) -> Path:
    folder = cache_folder(config)
    if folder is None and not config.no_cache:
        raise UsageError(
            "this user has no home folder that can be written, and a site needs a cache between "
            "messages; name a folder with the key cache"
        )
    if folder is None:
        raise UsageError(
            "no-cache = true keeps nothing between messages, but a site's process may be new for "
            "each; use no-cache = false"
        )
    return folder


def _prepare(context: Context) -> tuple[Site, SharedFeatures]:
    """Open the site's data, extract its features, split off its held-out part."""
    config = _config_of(context)
    _cache(config)
    partition_id = int(context.node_config["partition-id"])
    if "data" in context.node_config:
        dataset = open_data(config, own=True)
        _logger.info(Understood.of(dataset).sentence)
        for note in data_notes(config, dataset):
            _logger.warning(note)
        inputs = prepare_inputs(
            config, dataset, None, on_unreadable=_log_unreadable, everybody=False, own=True
        )
        for note in filter(None, (*inputs.notes, absent_note(inputs.dataset))):
            _logger.warning(note)
        sites = _one_site(config, inputs, partition_id)
        site = sites.site(partition_id)
        own, trained = inputs.dataset, site.data.labels.numpy()[site.data.train]
        left = len(np.setdiff1d(own.labels[own.training], trained))
        site = replace(site, smallest_cell=SMALLEST_CELL, classes_left_out=left)
        return site, sites.features
    sites = _all_sites(config)
    if partition_id >= len(sites.train):
        raise UsageError(f"partition-id {partition_id} is not below clients = {len(sites.train)}")
    return sites.site(partition_id), sites.features


def _log_unreadable(dataset: Dataset, unreadable: list[tuple[str, str]]) -> None:
    if told := left_out(dataset, unreadable):
        _logger.warning(told)


@lru_cache(maxsize=1)
def _all_sites(config: RunConfig) -> SimulatedSites:
    """Return all clients of data that is split by the configured partition."""
    dataset = open_data(config)
    drawn = split_into_clients(config, dataset)
    # The server, which writes the head, sees no picture: it cannot tell what was found in them.
    inputs = prepare_inputs(config, dataset, None, everybody=False)
    _KEPT.append(inputs)
    split = settled_split(config, inputs, drawn)
    split = without_duplicates(config, inputs, split).split
    return simulated_sites(inputs, split, duplicates=config.duplicates)


def _one_site(config: RunConfig, inputs: Inputs, partition_id: int) -> SimulatedSites:
    """Return the clients of which one, this site, holds all the data there is here."""
    _KEPT.append(inputs)
    dataset = inputs.dataset
    train, held_out = hold_out(config, dataset, dataset.training, partition_id)
    nobody = np.empty(0, np.int64)
    others = [nobody] * partition_id
    own = Split(
        names=[f"client-{client}" for client in range(partition_id + 1)],
        train=[*others, train],
        held_out=[*others, held_out],
        test=dataset.tested,
        unseen=nobody,
    )
    found = without_duplicates(config, inputs, own)
    if found.told:
        _logger.warning(found.told)
    return simulated_sites(inputs, found.split, duplicates=config.duplicates)


# Features without a file in the cache live as long as what was prepared from them.
_KEPT: list[Inputs] = []


def _write_site(site: Site, features: SharedFeatures, cache: Path) -> Path:
    """Write what a site prepared, under the hash of its content; return the file."""
    data, folder = site.data, cache / "sites"
    if features.path is None or cache not in features.path.parents:
        matrix = np.ascontiguousarray(data.features.numpy()).tobytes()
        path = folder / f"{hashlib.sha256(matrix).hexdigest()}.f32"
        if not path.is_file():
            write_atomically(path, matrix)
        features = SharedFeatures(features.shape, path)
    facts = {
        "partition-id": data.partition_id,
        "classes": data.classes,
        "class-names": site.class_names,
        "fingerprint": site.backbone_fingerprint,
        "smallest-cell": site.smallest_cell,
        "classes-left-out": site.classes_left_out,
        "path": str(features.path),
        "offset": features.offset,
        "shape": features.shape,
    }
    arrays = {
        "facts": np.array(json.dumps(facts)),
        "labels": data.labels.numpy(),
        "train": data.train,
        "held_out": data.held_out,
        "test": data.test,
        "unseen": data.unseen,
    }
    if data.groups is not None:
        arrays["groups"] = data.groups
    if data.unrepeated is not None:
        arrays["unrepeated"] = data.unrepeated
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type] # numpy's own flag is among the keywords
    content = buffer.getvalue()
    target = folder / f"{hashlib.sha256(content).hexdigest()}.npz"
    write_atomically(target, content)
    return target


@lru_cache(maxsize=4)
def _read_site(path: Path) -> Site:
    """Return the site that :func:`_write_site` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(str(stored["facts"]))
        rows, columns = facts["shape"]
        shared = SharedFeatures((rows, columns), Path(facts["path"]), facts["offset"])
        data = ClientData(
            partition_id=facts["partition-id"],
            features=shared.tensor(),
            labels=torch.from_numpy(stored["labels"]),
            train=stored["train"],
            held_out=stored["held_out"],
            test=stored["test"],
            unseen=stored["unseen"],
            classes=facts["classes"],
            groups=stored.get("groups"),
            unrepeated=stored.get("unrepeated"),
        )
    told = (facts[key] for key in ("fingerprint", "smallest-cell", "classes-left-out"))
    return Site(data, tuple(facts["class-names"]), *told)
