"""Each site in turn is the holdout-site, and all heads are scored on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from fedtl.client.alone import LoneHeadsOnce
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.unseen_site import withhold_site
from fedtl.errors import UsageError
from fedtl.fault import Enter, Fault
from fedtl.observers.entering import Entering
from fedtl.preparation.duplicates import without_duplicates
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.opened_data import fewest_sites
from fedtl.preparation.splitting import simulated_sites, split_into_clients
from fedtl.results.unseen import UnseenSite, unseen_site
from fedtl.runs.clients import ClientsHere
from fedtl.runs.reference import centralised_reference
from fedtl.runs.run import Run


def check_sites(dataset: Dataset) -> list[str]:
    """Return the names of the sites to leave out in turn.

    Raises:
        UsageError: The data has no sites.
    """
    if dataset.sites is None:
        raise UsageError(
            f"holdout-site = each needs the site of each input, but {dataset.name} has no sites; "
            "arrange images as site/class/file, give a table or embeddings a site, or "
            "leave the option out."
        )
    return [str(name) for name in np.unique(dataset.sites)]


def each_site_unseen(
    config: RunConfig,
    inputs: Inputs,
    on_progress: Callable[[int, int, str], None],
    enter: Enter,
) -> list[UnseenSite]:
    """Run once for every site of the data, without it, and score all heads on it.

    Args:
        config: The run, in which all sites take part.
        inputs: Its data and features.
        on_progress: Called with the sites done, their number, and the last.
        enter: Receives unexpected exceptions.

    Raises:
        FedtlError: The data has no sites, or too little is left without one of them.
    """
    dataset = inputs.dataset
    names = check_sites(dataset)
    found: list[UnseenSite] = []
    for name in names:
        held = withhold_site(dataset, name, fewest_sites=fewest_sites(config))
        without = replace(inputs, dataset=held)
        again = config.replace(holdout_site=name, data_seed=config.inputs_seed)
        drawn = split_into_clients(again, held)
        split = without_duplicates(again, without, drawn).split
        sites = simulated_sites(without, split, duplicates=config.duplicates)
        again = again.replace(clients=len(split.names))
        lone_heads = LoneHeadsOnce()
        entering = Entering(partial(_enter_of, len(found), enter))
        outcome, *_ = Run(ClientsHere(again, sites, lone_heads), [entering]).federate()
        clients = [sites.site(client).data for client in range(again.clients)]
        pooled = centralised_reference(outcome.strategy, clients, lone_heads)
        counts = [card.label_counts for card in outcome.roll.cards.values()]
        found.append(
            unseen_site(
                name,
                federated=outcome.federated,
                local_only=outcome.local_only,
                centralised=pooled.tallies,
                zero_shot=outcome.zero_shot,
                client_names=split.names,
                classes=dataset.classes,
                label_counts=np.sum(counts, axis=0),
            )
        )
        on_progress(len(found), len(names), name)
    return found


def _enter_of(site: int, enter: Enter, where: str, fault: Fault) -> None:
    enter(f"Unseen site {site}, {where}", fault)  # by number: its name may be no one's to tell
