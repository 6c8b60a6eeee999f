"""A simulated client in one of Flower's processes: it deals all data and takes its part."""

from __future__ import annotations

from functools import lru_cache

from flwr.app import Context

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs, prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.site import Site
from fedtl.preparation.splitting import settled_split, simulated_sites, split_into_clients
from fedtl.transfer.shared_features import SharedFeatures

# Features without a file in the cache live as long as what was prepared from them.
_KEPT: list[Inputs] = []


def prepare_dealt(config: RunConfig, context: Context) -> tuple[Site, SharedFeatures]:
    """Return the client's part of the data, and all features.

    Raises:
        UsageError: The data cannot be used, or holds no part for this client.
    """
    partition_id = int(context.node_config["partition-id"])
    sites = _all_sites(config)
    if partition_id >= len(sites.train):
        raise UsageError(f"partition-id {partition_id} is not below clients = {len(sites.train)}")
    return sites.site(partition_id), sites.features


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
