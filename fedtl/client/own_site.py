"""A site's own data made ready: opened, turned into features, its held-out rows split off."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from flwr.app import Context

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import absent_note
from fedtl.data.understood import Understood
from fedtl.data.unreadable import left_out
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import data_notes, open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.site import Site
from fedtl.preparation.split import Split
from fedtl.preparation.splitting import hold_out, simulated_sites
from fedtl.statistics.disclosure import SMALLEST_CELL
from fedtl.transfer.shared_features import SharedFeatures

_logger = logging.getLogger(__name__)


def prepare_own(config: RunConfig, context: Context) -> tuple[Site, SharedFeatures]:
    """Return the site and its features; notes on the data go to the site's log.

    Raises:
        FedtlError: The data cannot be used.
    """
    partition_id = int(context.node_config["partition-id"])
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


def _log_unreadable(dataset: Dataset, unreadable: list[tuple[str, str]]) -> None:
    if told := left_out(dataset, unreadable):
        _logger.warning(told)


def _one_site(config: RunConfig, inputs: Inputs, partition_id: int) -> SimulatedSites:
    """Return the clients, of which this site is one and holds all the data here."""
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
